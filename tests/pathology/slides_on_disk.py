"""A small cohort of slides with their features on disk, and settings of a run that takes a second."""

import shutil

import numpy as np
import pandas as pd

from offsite.pathology.features.file import (
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    write_features,
)
from offsite.pathology.settings import PathologySettings
from offsite.preprocessing.cohort.table import Cohort

CLASSES = ("normal", "tumour")
ORIGIN = FeatureOrigin(
    tile_px=224, mpp=0.5, tile_size_level0=224.0, encoder="test", encoder_digest="e"
)


def make(folder, patients=24, seed=0):
    """A cohort of two slides per patient: tumour slides hold a few instances that stand out."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        tumour = patient % 3 == 0
        site = ("east", "west", "held")[patient // 3 % 3]
        split = "test" if site == "held" else ("train", "train", "val", "test")[patient // 9 % 4]
        for number in range(2):
            slide = f"p{patient}-{number}"
            features = rng.normal(size=(int(rng.integers(8, 30)), 5))
            if tumour:
                features[:6, 0] += 6
            coords = rng.integers(0, 5000, (len(features), 2))
            write_features(
                feature_path(folder, slide),
                SlideFeatures(features=features.astype(np.float16), coords=coords, origin=ORIGIN),
            )
            rows.append(
                {
                    "image": f"{slide}.svs", "slide": slide, "patient": f"p{patient}", "site": site,
                    "site_role": "held_out" if site == "held" else "training", "split": split,
                    "label": CLASSES[tumour], "mpp": np.nan,
                }
            )  # fmt: skip
    return Cohort(table=pd.DataFrame(rows), classes=CLASSES, path=folder / "cohort.csv")


def copied(folder, part, without=()):
    """Copy the feature files of ``folder`` to a new folder, but for those of some slides."""
    part.mkdir()
    for path in folder.glob("*.h5"):
        if path.stem not in without:
            shutil.copyfile(path, part / path.name)
    return part


def settings(method="sc_mil", epochs=6, *, fit=(), **changes):
    """Settings of a run; ``fit`` is laid over those of the fitting."""
    given = {
        "method": method, "batch_size": 8, "instances": 16,
        "model": {"aggregator": {"width": 16, "attention_width": 8}},
        "fit": {"epochs": epochs, "learning_rate": 0.02, "device": "cpu", "prefetch": 0, **dict(fit)},
    }  # fmt: skip
    return PathologySettings.model_validate(given | changes)


class Killed(BaseException):
    """Stands for the end of a process."""


def killed_at(monkeypatch, batch):
    """Let the run end when it asks for that batch; return the list of the epochs of all batches."""
    from offsite.pathology.bags import BagLoader

    drawn, original = [], BagLoader.training_batch

    def cut(self, indices, epoch, times):
        drawn.append(epoch)
        if len(drawn) == batch:
            raise Killed
        return original(self, indices, epoch, times)

    monkeypatch.setattr(BagLoader, "training_batch", cut)
    return drawn
