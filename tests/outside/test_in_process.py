"""The example package against the contract, in this process and in seconds."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from offsite.evaluation.predictions.table import load_predictions
from offsite.workflows import doctor
from offsite.workflows.jobs.checking import check_job
from offsite.workflows.jobs.configuration import configuration_model
from offsite.workflows.jobs.job import Job
from offsite.workflows.jobs.modalities import brought_steps
from offsite.workflows.stages import images
from offsite.workflows.stages.training import train


@pytest.fixture
def greys(site: Path, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(site))
    shutil.copytree(job.parent, tmp_path / "job", ignore=shutil.ignore_patterns("output", "two"))
    yield Job.load(tmp_path / "job" / job.name, ["training.fit.epochs=3"])
    configuration_model.cache_clear()


def test_a_job_of_it_is_checked_shrunk_and_trained(greys: Job) -> None:
    check_job(greys)
    assert set(brought_steps()) == {"shrink"}
    table = images.run(greys, "shrink")
    assert table["status"].value_counts().to_dict() == {"ok": 90, "failed": 1}
    run = train(greys, greys.cell())
    predictions = load_predictions(run)
    assert predictions.classes == ("plain", "striped")
    assert len(predictions.table) == 90
    excluded = pd.read_csv(run / "excluded.csv", dtype=str)
    assert excluded["code"].tolist() == ["unreadable_image"]


def test_the_doctor_tries_what_it_needs(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    tried = {trial.name: trial.run for trial in doctor._of_modalities()}
    assert {"slides", "DICOM photographs", "grey pictures"} <= tried.keys()
    assert tried["grey pictures"]().startswith("Pillow")
    assert "grey pictures" in doctor._kinds()


def test_it_imports_no_room_beside_training_and_preprocessing(site: Path) -> None:
    text = "".join(file.read_text() for file in (site / "offsite_greys").glob("*.py"))
    for room in ("pathology", "retina", "workflows", "evaluation"):
        assert f"offsite.{room}" not in text
