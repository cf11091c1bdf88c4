"""Groups of patients from a job's cohort through training to the report, in both rooms."""

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from offsite.errors import InputError
from offsite.evaluation.predictions.table import load_predictions
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.evaluation import evaluate_run
from offsite.workflows.stages.shortcuts import keep_nuisances
from offsite.workflows.stages.training import train

ROOMS: dict[str, dict[str, Any]] = {
    "pathology": {
        "classes": list(CLASSES), "splits": {"held_out_sites": [SITES[2].name], "val": 0.3, "test": 0.2},
        "tiles": {"tile_px": 128, "min_tissue": 0.3},
        "encoder": {"name": "structure_baseline", "tile_px": 128},
        "training": {"fit": {"epochs": 1}, "batch_size": 4, "instances": 16},
    },
    "retina": {
        "classes": list(GRADES), "splits": {"held_out_sites": [CLINICS[2].name], "val": 0.4, "test": 0.1},
        "preparation": {"px": 48},
        "training": {"method": "erm", "backbone": {"width": 8}, "fit": {"epochs": 1}, "batch_size": 16},
    },
}  # fmt: skip


def job_file(folder: Path, task: str, by: list[str]) -> Path:
    settings = {
        "task": task, "cohort": "cohort/cohort.csv", "output": ".", **ROOMS[task],
        "evaluation": {"by": by, "parts": [], "metrics": {"resamples": 100}},
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(settings))
    return folder / "job.yaml"


@pytest.fixture(params=ROOMS)
def task(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Images that are ready for training, and a cohort that says who the patients are."""
    done = request.getfixturevalue(
        {"pathology": "slide_run", "retina": "fundus_run"}[request.param]
    )
    for name in ("cohort", "tiles", "features", "prepared"):
        if (done.cohort.parents[1] / name).is_dir():
            shutil.copytree(done.cohort.parents[1] / name, tmp_path / name, copy_function=os.link)
    for table in done.cohort.parents[1].glob("*.csv"):
        shutil.copy(table, tmp_path)
    cohort = pd.read_csv(done.cohort, dtype=str)
    patients = pd.factorize(cohort["patient"])[0]
    cohort["sex"] = [("F", "M", "")[number % 3] for number in patients]
    cohort["surname"] = cohort["patient"].map("Surname {}".format)
    (tmp_path / "cohort" / "cohort.csv").unlink()
    cohort.to_csv(tmp_path / "cohort" / "cohort.csv", index=False)
    return str(request.param)


def test_groups_reach_the_report_and_no_other_column_does(task: str, tmp_path: Path) -> None:
    job = Job.load(job_file(tmp_path, task, ["sex", "scanner"]))
    run = train(job, job.cells()[0])
    rows = load_predictions(run).table
    assert not any("Surname" in str(cell) for cell in rows.to_numpy().ravel())
    of_image = job.cohort.table.set_index("image").loc[rows["image"]]
    for column in ("sex", "scanner"):
        assert rows[column].tolist() == of_image[column].tolist()
    made = evaluate_run(run)
    groups = pd.read_csv(made.folder / "subgroups.csv")
    found = groups[(groups["by"] == "sex") & (groups["site"] != "_pooled")].drop_duplicates(
        ["group", "site"]
    )
    test = rows[rows["split"] == "test"].replace({"sex": {"": "(blank)"}})
    counts = test.groupby(["sex", "site"])["patient"].nunique()
    assert found.set_index(["group", "site"])["n_patients"].to_dict() == counts.to_dict()
    page = made.report.read_text(encoding="utf-8")
    assert "By sex" in page
    assert "By scanner" in page
    weights = (run / "weights.safetensors").stat().st_mtime_ns
    other = Job.load(job_file(tmp_path, task, []))
    assert train(other, other.cells()[0]) == run
    assert "sex" not in load_predictions(run).table
    assert not (evaluate_run(run).folder / "subgroups.csv").exists()
    assert (run / "weights.safetensors").stat().st_mtime_ns == weights
    _shortcuts_reach_the_report(other, run)


def _shortcuts_reach_the_report(job: Job, run: Path) -> None:
    """Colour, sharpness, size and storage of the run's images, in either room."""
    made = evaluate_run(run, shortcuts=True)
    kept = pd.read_parquet(run / "nuisances.parquet").set_index("image")
    predicted = load_predictions(run)
    assert set(kept.index) == set(predicted.table["image"][predicted.labels >= 0])
    assert kept.notna().all().all()
    table = pd.read_csv(made.folder / "shortcuts.csv")
    assert set(table["site"]) == set(job.cohort.sites)
    assert (table["n"][table["kind"] == "within"].sum()) == len(kept)
    assert "rank" in made.report.read_text(encoding="utf-8")
    again = (run / "nuisances.parquet").stat().st_mtime_ns
    assert evaluate_run(run, shortcuts=True).key == made.key
    assert (run / "nuisances.parquet").stat().st_mtime_ns == again
    pd.DataFrame({"image": ["of another"]}).to_parquet(run / "nuisances.parquet")
    with pytest.raises(InputError, match="Move it away"):
        evaluate_run(run)
    (run / "nuisances.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="Move it away"):
        evaluate_run(run)
    (run / "nuisances.parquet").unlink()
    _what_a_run_has_read_no_other_reads(job, run, kept)
    (run / "nuisances.parquet").unlink()
    for path in job.cohort.image_paths():
        path.unlink()
    with pytest.raises(InputError, match="no such file"):
        evaluate_run(run, shortcuts=True)


def _what_a_run_has_read_no_other_reads(job: Job, run: Path, kept: pd.DataFrame) -> None:
    sibling = job.output / "runs" / "sibling" / "nuisances.parquet"
    sibling.parent.mkdir(parents=True)
    moved, number = kept.copy(), kept.columns[0]
    moved[number] += 100  # so that it is told whose number it is
    moved.reset_index().to_parquet(sibling)
    (job.output / "runs" / "older").mkdir()
    kept.drop(columns="content").reset_index().to_parquet(
        job.output / "runs" / "older" / "nuisances.parquet"
    )
    paths = dict(zip(job.cohort.table["image"], job.cohort.image_paths(), strict=True))
    changed = kept.index[0]
    paths[changed].write_bytes(paths[changed].read_bytes() + b"\0")
    keep_nuisances(run, job)
    found = pd.read_parquet(run / "nuisances.parquet").set_index("image")
    assert found[number].drop(changed).equals(moved[number].drop(changed))
    assert found.loc[changed, number] == pytest.approx(kept.loc[changed, number], abs=1)
    assert found.loc[changed, "content"] != kept.loc[changed, "content"]
    shutil.rmtree(sibling.parent)
