"""A cross-validation of a job: folds, the refit that ships, its report, comparison and package."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.predictions.table import load_predictions
from offsite.files import read_json
from offsite.training.cells import Cell, Fold
from offsite.workflows.jobs.checking import check_job
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folder import load_package
from offsite.workflows.stages.comparison import compare
from offsite.workflows.stages.evaluation import evaluate_run, judged_folder
from offsite.workflows.stages.registration import best_run, package
from offsite.workflows.stages.training import train
from tests.workflows.stages.test_groups_of_a_job import job_file
from tests.workflows.stages.test_groups_of_a_job import task as task

FOLDS = [
    "cells.protocol=folds", "cells.folds=2", "splits.val=0.3", "training.fit.epochs=3",
    "training.fit.fewest_validated=1", "evaluation.parts=[operating_points, conformal, selective]",
]  # fmt: skip


def job_of(folder: Path, task: str, *more: str) -> Job:
    return Job.load(job_file(folder, task, ["sex"]), [*FOLDS, *more])


def test_each_patient_is_answered_by_the_fold_that_had_not_seen_it(
    task: str, tmp_path: Path
) -> None:
    job = job_of(tmp_path, task)
    check_job(job)
    cells = job.chosen()
    assert [cell.fold.name for cell in cells if cell.fold] == ["fold-1", "fold-2", "refit"]
    *folds, refit = [train(job, cell) for cell in cells]
    joined = load_predictions(judged_folder(refit))
    own = load_predictions(refit)
    assert joined.table["image"].tolist() == own.table["image"].tolist()
    away = joined.table["site_role"] == "held_out"
    assert set(joined.table["split"]) == {"test"}
    assert set(own.table.loc[~away, "split"]) == {"train"}
    assert (joined.table["fold"].eq(0) == away).all()
    np.testing.assert_allclose(joined.probabilities[away], own.probabilities[away])
    for number, run in enumerate(folds, 1):
        of_fold = load_predictions(run)
        rows = joined.table["fold"] == number
        source = of_fold.table.set_index("image").loc[joined.table["image"][rows]]
        assert set(source["split"]) == {"test"}
        seen = of_fold.table.loc[of_fold.table["split"] != "test", "patient"]
        assert not set(joined.table["patient"][rows]) & set(seen)
        columns = [name for name in source if name.startswith("prob_")]
        np.testing.assert_array_equal(source[columns], joined.table.loc[rows, columns])
    facts = [read_json(run / "run.json")["facts"] for run in folds]
    selected = [fact["selected_epoch"] + 1 for fact in facts]
    told = read_json(refit / "run.json")["facts"]
    assert told["folds"]["epochs"] == np.ceil(np.median(selected))
    assert told["epochs"] == np.ceil(np.median(selected))
    assert told["selection_score"] == pytest.approx(np.mean([f["selection_score"] for f in facts]))
    assert best_run(job) == refit
    _reports_and_ships(job, refit)
    _goes_on_where_something_is_missing(job, refit, folds[1])


def _reports_and_ships(job: Job, refit: Path) -> None:
    made = evaluate_run(refit)
    patients = job.cohort.table.groupby("site")["patient"].nunique()
    cohort = pd.read_csv(made.folder / "cohort.csv").set_index("site")
    assert cohort["n_patients"].to_dict() == patients.to_dict()
    assert set(cohort["split"]) == {"test"}
    page = made.report.read_text(encoding="utf-8")
    assert "Cross-validation in 2 folds" in page
    assert "By sex" in page
    points = pd.read_csv(made.folder / "operating_points.csv")
    chosen = points[(points["rule"] == "point") & (points["site"] == "_chosen")]
    assert chosen["threshold"].notna().all()
    sets = pd.read_csv(made.folder / "conformal.csv")
    assert set(sets["site"]) >= set(patients.index)
    loaded = load_package(package(refit))
    limits = " ".join(loaded.record.limits)
    assert "trained on all patients of the training sites for" in limits
    assert "the median of what 2 folds selected" in limits
    training = job.cohort.table[~job.cohort.table["site"].isin(job.cells()[0].held_out)]
    assert loaded.record.patients == training["patient"].nunique()
    assert f"{loaded.record.patients}" in (refit / "package" / "card.md").read_text()
    assert loaded.record.profiles["_pooled"].n == (training["label"] != "").sum()


def _goes_on_where_something_is_missing(job: Job, refit: Path, fold: Path) -> None:
    record = (refit / "run.json").read_bytes()
    weights = (refit / "weights.safetensors").stat().st_mtime_ns
    last = job.chosen()[-1]
    assert train(job, last) == refit
    assert (refit / "run.json").read_bytes() == record
    shutil.rmtree(refit / "out_of_fold")
    with pytest.raises(InputError, match="not as training wrote it"):
        evaluate_run(refit)
    train(job, last)
    assert load_predictions(judged_folder(refit)).table["fold"].max() == 2
    other = Job.load(job.file, [*FOLDS, "training.batch_size=5"])
    with pytest.raises(InputError) as error:
        train(other, last)
    assert error.value.code == "other_settings"
    assert weights <= (refit / "weights.safetensors").stat().st_mtime_ns
    shutil.rmtree(fold)
    with pytest.raises(InputError) as error:
        train(job, last)
    assert error.value.code == "fold_not_trained"
    assert "--fold 2` first" in str(error.value.remedy)


@pytest.mark.parametrize("task", ["pathology"], indirect=True)
def test_repeats_and_seeds_are_compared_by_their_joined_folds(task: str, tmp_path: Path) -> None:
    more = ("cells.repeats=2", "cells.methods=[cross_entropy, linear]")
    job = job_of(tmp_path, task, *more, "training.fit.epochs=1", "training.linear.folds=2")
    for cell in job.cells():
        train(job, cell)
    refits = job.reported()
    assert [cell.name for cell in refits] == [
        f"{method}/{refits[0].division}/seed-0/refit" for method in ("cross_entropy", "linear")
    ]
    assert refits[0].division.startswith("2-folds-without-")
    table = compare(job, "cross_entropy")
    assert set(table["seeds"]) == {2}
    pooled = table[(table["site"] == "_pooled") & (table["site_role"] == "all")]
    assert set(pooled["n_patients"]) == {job.cohort.table["patient"].nunique()}
    seeds = pd.read_csv(job.output / "seeds.csv")
    assert seeds.groupby("method").size().tolist() == [len(job.cohort.table)] * 2
    linear = read_json(job.run_folder(refits[1]) / "run.json")["facts"]["folds"]
    assert (linear["epochs"], linear["selected"]) == (None, [])
    assert len(linear["runs"]) == 4


@pytest.mark.parametrize("task", ["pathology"], indirect=True)
def test_what_folds_cannot_be_is_said_before_anything_is_trained(task: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        check_job(job_of(tmp_path, task, "cells.folds=40"))
    assert "of 40 would test none" in str(error.value)
    with pytest.raises(InputError, match="the refit of protocol folds has none"):
        job_of(tmp_path, task, "training.fit.averaging=swad")
    with pytest.raises(InputError, match="'4' is no fold of 2"):
        job_of(tmp_path, task).chosen(fold="4")
    with pytest.raises(InputError, match="the job has no folds"):
        Job.load(job_file(tmp_path, task, [])).chosen(fold="1")


def test_each_seed_divides_anew_where_that_is_wanted(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from offsite.workflows.jobs.dividing import split_of

    cohort = request.getfixturevalue("slide_run").cohort
    shutil.copytree(cohort.parent, tmp_path / "cohort")
    fixed = job_of(tmp_path, "pathology")
    anew = job_of(tmp_path, "pathology", "cells.divide_by_seed=true")
    cells = [Cell("sc_mil", fixed.cells()[0].held_out, seed, Fold(2, 1)) for seed in (0, 1)]
    one, other = (split_of(fixed, cell).table["split"].tolist() for cell in cells)
    assert one == other
    one, other = (split_of(anew, cell).table["split"].tolist() for cell in cells)
    assert one != other
