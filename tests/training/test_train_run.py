"""The one run of all modalities, here of points in the plane."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from problem import Net, points, settings, source, validator

from offsite.errors import InputError
from offsite.files import read_json
from offsite.settings import Settings
from offsite.training.fit.settings import FitSettings
from offsite.training.train_run import Answers, fit_by_steps, train_run


class PointSettings(Settings):
    fit: FitSettings


class PointRun:
    """Points in the plane as a modality's items."""

    task, version = "points", 1

    def __init__(self, seed=0, stop_after=None):
        self.data, self.classes = points(seed=seed), ("a", "b", "c")
        self.settings = PointSettings(fit=settings())
        n = len(self.data)
        self.cohort = pd.DataFrame(
            {
                "image": [f"{i}.png" for i in range(n)],
                "slide": [str(i) for i in range(n)],
                "patient": [str(i) for i in range(n)],
                "site": [str(site) for site in self.data.sites.tolist()],
                "site_role": "training",
                "split": "train",
                "label": [self.classes[label] for label in self.data.labels],
            }
        )
        self.excluded = self.cohort.head(0).assign(status="", code="", message="")
        self.stop_after, self.fits = stop_after, 0

    def inputs(self):
        digest = self.data.pixels.double().sum().item()
        return {"settings": self.settings.model_dump(mode="json"), "points": digest}

    def training_labels(self):
        return self.data.labels.numpy()

    def validation_labels(self):
        return np.zeros(4, dtype=np.int64)  # the others are never validated

    def validation_patients(self):
        return ["0", "1", "2", "3"]

    def fit(self, folder, fingerprint):
        self.fits += 1

        def stop(epoch, step):
            if epoch == self.stop_after:
                raise KeyboardInterrupt

        watched = source(self.data, after=stop)
        watched.plan = watched.planned.plan
        self.model = Net()
        return fit_by_steps(
            self,
            self.model,
            watched,
            self.settings.fit,
            folder,
            loss=None,
            validate=validator(self.data),
            fingerprint=fingerprint,
        )

    def answers(self, result):
        from safetensors.torch import load_file

        self.model.load_state_dict(load_file(result.weights))
        with torch.no_grad():
            out = self.model.eval()(self.data)
        shares = out.logits.double().softmax(1).numpy()
        facts = {"architecture": {"name": "net"}}
        return Answers(self.cohort, shares, out.logits.numpy(), out.embedding.numpy(), facts)


def test_a_run_leaves_what_later_stages_read(tmp_path):
    table = train_run(PointRun(), tmp_path / "run")
    record = read_json(tmp_path / "run" / "run.json")
    assert record["status"] == "done"
    assert record["facts"]["selected_because"] == "too few to compare epochs"
    assert "a 4, b 0, c 0" in record["facts"]["selection_note"]
    assert record["facts"]["selected_epoch"] == record["facts"]["epochs"] - 1
    assert read_json(tmp_path / "run" / "fit.json")["result"]["note"].startswith("The last epoch")
    assert record["facts"]["classes_not_validated"] == ["b", "c"]
    assert table.filter(like="prob_").sum(axis=1).to_numpy() == pytest.approx(np.ones(48))
    assert len(np.load(tmp_path / "run" / "embeddings.npy")) == 48
    drawn = read_json(tmp_path / "run" / "draws.json")["cells"]
    assert sum(cell["items"] for cell in drawn) == 48
    found = record["facts"]["geometry"]
    assert set(found) == {"train"}  # no validation items here
    assert found["train"]["items"] == table["label"].value_counts().to_dict()
    assert max(found["train"]["class_strength"].values()) == 1
    assert record["facts"]["weak_classes"] == {}


def test_a_finished_run_is_read_back_and_other_items_begin_anew(tmp_path):
    table = train_run(PointRun(), tmp_path / "run")
    again = PointRun()
    pd.testing.assert_frame_equal(train_run(again, tmp_path / "run"), table)
    assert again.fits == 0
    other = PointRun(seed=1)
    assert not train_run(other, tmp_path / "run")["prob_a"].equals(table["prob_a"])
    assert other.fits == 1


def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path):
    whole = train_run(PointRun(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_run(PointRun(stop_after=2), tmp_path / "stopped")
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["status"] == "running"
    pd.testing.assert_frame_equal(train_run(PointRun(), tmp_path / "stopped"), whole)
    weights = [tmp_path / name / "weights.safetensors" for name in ("whole", "stopped")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(InputError, match="other files"):
        train_run(PointRun(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"
