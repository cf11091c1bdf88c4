"""The demo of a group that has features and labels: a folder as TRIDENT leaves it, and a table."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from offsite.children.pool import HERE
from offsite.cores import usable_cores
from offsite.files import replacing
from offsite.pathology.features.embedding import embed_cohort
from offsite.pathology.features.file import SlideFeatures, feature_path, read_features
from offsite.pathology.tile_encoders.registry import EncoderSettings
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.tiles.table import TileSettings
from offsite.preprocessing.tiles.tiling import tile_cohort
from offsite.workflows.console.messages import say
from offsite.workflows.demo import pathology
from offsite.workflows.demo.files import write_job, write_table

ENCODER = "demo_encoder"
TILES = f"20x_{pathology.TILE_PX}px_0px_overlap"
WRONG_WIDTH = 64
# Smaller than in the demo of slides, for making them is not what is shown here; as there a small part
# shows the class, and each site has a dozen patients to be judged with.
_SMALL = {"slides_per_patient": (1, 1), "width_um": 520, "height_um": 480, "artefacts": False}
COHORT = pathology.COHORT.model_copy(
    update={**_SMALL, "patients": 140, "lesion_share": (0.1, 0.25)}
)
NEW_CASES = COHORT.model_copy(update={"patients": 5, "seed": 2})


def write_demo(folder: Path) -> Path:
    """Make a folder of features, a table of labels and the job; return the job's path."""
    say("[bold]features[/bold]  SYNTHETIC slides, encoded and laid out as TRIDENT does; no patient"
        " stands behind them")  # fmt: skip
    table = _processed(folder, "cohort", COHORT)
    names = list(table["slide"])
    _write(folder / "trident_processed", names[0], None)  # of another encoder, as it happens
    write_table(folder / "labels.csv", table[["slide", "patient", "site", "label"]])
    configuration = {
        "task": "pathology",
        "title": "Synthetic tissue grade, from features (demo)",
        "cohort": "labels.csv",
        "classes": list(CLASSES),
        "output": "results",
        "splits": {"held_out_sites": [pathology.HELD_OUT], "val": 0.2, "test": 0.45},
        "features": {
            "folder": "trident_processed",
            "encoder": {"name": "external", "label": ENCODER},
        },
        "tracking": {"experiment": "demo features", "model": "demo-features"},
        "cells": {"shards": 1},
    }
    return write_job(folder / "features.yaml", configuration)


def write_new_cases(folder: Path) -> tuple[Path, Path]:
    """Make features that no one has labelled, one file of them useless; return table and folder."""
    table = _processed(folder, "new-cases", NEW_CASES)
    _write(folder / "new-cases-processed", table["slide"].iloc[0], None)
    rows = table[["slide", "patient", "site"]]
    return write_table(folder / "new-cases.csv", rows), folder / "new-cases-processed"


def _processed(folder: Path, name: str, settings: SyntheticSlideSettings) -> pd.DataFrame:
    """Make slides, encode them, and lay the features out as TRIDENT does; return their table."""
    work = folder / "made-elsewhere" / name
    cohort = load_cohort(make_slide_cohort(work / "slides", settings))
    workers = usable_cores()
    tiles = TileSettings(tile_px=pathology.TILE_PX)
    encoder = EncoderSettings(name="structure_baseline", tile_px=pathology.TILE_PX)
    tile_cohort(cohort, work, tiles, workers=workers, place=HERE)
    made = embed_cohort(cohort, work, work / "features", encoder, workers=workers, place=HERE)
    out = "trident_processed" if name == "cohort" else f"{name}-processed"
    kept = made.loc[made["status"] == "embedded", "slide"]
    for slide in kept:
        _write(folder / out, slide, read_features(feature_path(work / "features", slide)))
    return cohort.table[cohort.table["slide"].isin(kept)]


def _write(job_dir: Path, slide: str, features: SlideFeatures | None) -> None:
    """Write a slide's file as TRIDENT does; of no features, one of another width."""
    folder = job_dir / TILES / f"features_{ENCODER}"
    path = folder / f"{slide}.h5"
    if features is None:
        numbers, coords = np.zeros((8, WRONG_WIDTH), np.float32), np.zeros((8, 2), np.int64)
    else:
        numbers, coords = features.features.astype(np.float32), features.coords
    side = pathology.TILE_PX
    level0 = side if features is None else round(features.origin.tile_size_level0)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("features", data=numbers, chunks=(1, numbers.shape[1]))
        file["features"].attrs.update({"name": slide, "savetodir": str(folder)})
        file.create_dataset("coords", data=coords, chunks=(1, 2))
        file["coords"].attrs.update(
            {
                "patch_size": side, "patch_size_level0": level0, "level0_magnification": 20,
                "target_magnification": 20, "overlap": 0, "name": slide, "savetodir": str(job_dir),
            }
        )  # fmt: skip
