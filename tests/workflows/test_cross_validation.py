"""A cross-validated job over a folder of features, by the commands, from training to a withdrawal."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.tables.alignment import rows_of_test
from offsite.evaluation.tables.comparison import paired_differences
from offsite.evaluation.tracking.champion import champion_of
from offsite.evaluation.tracking.data_parts import model_of
from offsite.evaluation.tracking.methods import ABOVE
from offsite.evaluation.tracking.store import client_of
from offsite.files import read_json
from offsite.workflows.cli import app
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.evaluation import judged_folder
from tests.workflows.feature_folders import CLASSES, bags, make, write
from tests.workflows.sown import state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
GATE = """rules:
  - {rule: minimum_n, patients: 15, together: 30, number_of_sites: 2, sites: training}
  - {rule: threshold_transfer, task: tumour, gap_at_most: 0.9, each_site: 0.95, sites: training}
  - {rule: calibration, task: tumour, calibrator: temperature, excess_at_most: 0.9, sites: training}
  - {rule: non_inferiority, metric: accuracy, margin: 0.9}
"""
PATIENT = "p0-4"


def call(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, f"{words}: {done.output} {done.exception!r}"
    return done.output


@dataclass(frozen=True)
class Made:
    """The job, done twice: with two seeds that divide the patients anew, a held-out site beside."""

    job: Job
    refits: list[Path]
    before: dict[str, tuple[object, ...]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("folds")
    file = make(
        root, patients=60,
        splits={"held_out_sites": ["held"], "val": 0.25},
        cells={"protocol": "folds", "folds": 3, "seeds": [0, 1], "divide_by_seed": True, "shards": 1},
        decision={"name": "tumour", "positive_classes": ["tumour"]},
        evaluation={"metrics": {"resamples": 100, "calibration_simulations": 50},
                    "parts": ["operating_points", "calibration", "ood", "conformal", "selective"]},
    )  # fmt: skip
    before = state([root / "features"])
    call("train", file, "--all")
    job = Job.load(file)
    refits = [job.run_folder(cell) for cell in job.reported()]
    for run in refits:
        call("evaluate", run)
    return Made(job, refits, before)


def test_a_folder_of_features_is_cross_validated_beside_a_held_out_site(made: Made) -> None:
    table = pd.read_csv(made.job.file.parent / "labels.csv")
    folds = []
    for refit in made.refits:
        joined = load_predictions(judged_folder(refit)).table
        assert sorted(joined["image"]) == sorted(table["slide"])
        away = joined["site"] == "held"
        assert (joined["fold"] == 0).equals(away)
        assert set(joined["site_role"][away]) == {"held_out"}
        assert sorted(joined["fold"][~away].unique()) == [1, 2, 3]
        page = (refit / "evaluation" / "report.html").read_text(encoding="utf-8")
        assert "Does it notice foreign images?" in page
        assert "Prediction sets" in page
        assert "those of two models have no common axes" in page
        folds.append(joined.set_index("image")["fold"])
    assert (folds[0] != folds[1].loc[folds[0].index]).any()  # each seed divides anew
    assert state([made.job.file.parent / "features"]) == made.before


def test_folds_are_shown_under_their_refit_and_only_once(made: Made) -> None:
    for _ in range(2):
        call("workflow", "track", made.job.file)
    client = client_of(made.job.tracking_uri)
    (place,) = (e.experiment_id for e in client.search_experiments() if e.name != "Default")
    runs = {run.info.run_id: run for run in client.search_runs([place])}
    assert len(runs) == 1 + 2 * (1 + 3)
    for refit in made.refits:
        key = read_json(refit / "run.json")["key"]
        (above,) = (r for r in runs.values() if r.data.tags["offsite.job_key"] == key)
        assert runs[above.data.tags[ABOVE]].data.tags["offsite.kind"] == "method"
        below = [r for r in runs.values() if r.data.tags.get(ABOVE) == above.info.run_id]
        assert sorted(r.data.tags["fold"] for r in below) == ["fold-1", "fold-2", "fold-3"]
        for run in below:
            fold = refit.parent / run.data.tags["fold"]
            rows = load_predictions(fold).table
            tested = rows[(rows["split"] == "test") & (rows["site_role"] == "training")]
            counts = {site: run.data.metrics[f"test/{site}/n"] for site in ("east", "west")}
            assert counts == tested["site"].value_counts().to_dict()
            assert "headline/training/tumour_sensitivity" in run.data.metrics
            assert "held_out" not in "".join(run.data.metrics)
            assert model_of(run) is not None
            assert [k for k in run.data.metrics if k.startswith("train/")]


def test_the_gate_judges_what_the_folds_said(made: Made, tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(GATE)
    uri = made.job.tracking_uri
    for version, refit in enumerate(made.refits, 1):
        said = call(
            "model", "register", refit, "--name", "graded", "--gate", tmp_path / "gate.yaml"
        )
        assert f"models:/graded/{version}" in said
        assert champion_of(uri, "graded") == str(version)
        assert "not measured" not in said
    one, two = (load_predictions(judged_folder(refit)) for refit in made.refits)
    table = paired_differences(one, two, made.job.configuration.report_settings().metrics)
    assert set(table["site"]) >= {"east", "west", "held"}
    assert len(rows_of_test(one)) == 60


def test_the_model_that_ships_answers_new_slides(made: Made, tmp_path: Path) -> None:
    call("model", "register", made.job.file, "--name", "answering")
    for slide, features in bags(6, seed=9)[1].items():
        write(tmp_path / "new", "trident", slide, features)
    call("predict", tmp_path / "new", "-m", "models:/answering/1", "--tracking-uri",
         made.job.tracking_uri, "-o", tmp_path / "out", "--workers", 1)  # fmt: skip
    rows = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert set(rows["status"]) <= {"ok", "review"}  # of no site that it was calibrated at
    truth = [CLASSES[int(Path(name).stem[-2:]) % 3 == 0] for name in rows["input"]]
    assert rows["prediction"].tolist() == truth


def test_methods_and_seeds_are_compared_by_their_folds(made: Made) -> None:
    call("compare", made.job.file)
    table = pd.read_csv(made.job.output / "comparison.csv")
    assert set(table["seeds"]) == {2}
    pooled = table[(table["site"] == "_pooled") & (table["metric"] == "accuracy")]
    held = (made.job.cohort.table["site"] == "held").sum()
    counts = pooled.set_index("site_role")["n_patients"].to_dict()
    assert counts == {"training": 60 - held, "held_out": held, "all": 60}


def test_a_patient_who_withdraws_leaves_no_fold_behind(made: Made) -> None:
    """Every fold and refit is made again, and MLflow shows the new folds under the new refits."""
    call("workflow", "track", made.job.file)
    keys = {str(run): read_json(run / "run.json")["key"] for run in made.job.output.rglob("fold-*")}
    assert len(keys) == 6
    call("patient", "forget", made.job.file, PATIENT, "--yes")
    assert state([made.job.file.parent / "features"]) == made.before
    job = Job.load(made.job.file)
    for refit in made.refits:
        joined = load_predictions(judged_folder(refit)).table
        assert PATIENT not in set(joined["patient"])
        assert len(joined) == 59
        assert (refit / "evaluation" / "report.html").is_file()
    for run, key in keys.items():
        assert read_json(Path(run) / "run.json")["key"] != key
        assert PATIENT not in set(load_predictions(run).table["patient"])
    client = client_of(job.tracking_uri)
    (place,) = (e.experiment_id for e in client.search_experiments() if e.name != "Default")
    shown = client.search_runs([place])
    now = {read_json(Path(run) / "run.json")["key"] for run in (*keys, *made.refits)}
    told = {
        r.data.tags["offsite.job_key"] for r in shown if r.data.tags.get("offsite.kind") != "method"
    }
    serving = set(told - now)
    assert now <= told
    assert not serving & set(keys.values())
    identifiers = {run.info.run_id for run in shown}
    for run in shown:
        assert run.data.tags.get(ABOVE, run.info.run_id) in identifiers
    assert np.isfinite(
        [r.data.metrics["test/east/n"] for r in shown if "fold" in r.data.tags]
    ).all()
