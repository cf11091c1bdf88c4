"""A refit and its folds, written without training: what the gate and MLflow make of them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.tracking.methods import ABOVE
from offsite.evaluation.tracking.store import client_of
from offsite.files import read_json, write_json
from offsite.training.cells import Cell, Fold
from offsite.training.run_folder import RunFolder
from offsite.workflows.stages.evaluation import evaluate_run
from offsite.workflows.stages.folds import TrainedFolds, fold_models, fold_runs, join_folds
from offsite.workflows.stages.gate import pass_gate
from offsite.workflows.stages.registration import register
from offsite.workflows.stages.training import CELL
from tests.workflows.run_files import write_run

OF = 3
NOT_WORSE = "rules:\n  - {rule: non_inferiority, metric: accuracy, margin: 0.02}\n"


def write_folds(root: Path, strength: float, **more: object) -> Path:
    """Write three folds and their refit; return the refit."""
    folds = {}
    for number in (*range(1, OF + 1), 0):
        fold = Fold(OF, number)
        folds[number] = write_run(root / fold.name, strength + number / 1000, **more)
        _divide(folds[number], number)
        cell = Cell("sc_mil", ("south",), 0, fold)
        write_json(folds[number] / CELL, cell.record() | {"configuration": str(root / "job.yaml")})
    refit = folds.pop(0)
    runs = {run.name: RunFolder(run).record()["key"] for run in folds.values()}
    trained = TrainedFolds(OF, 1, folds, runs, (2, 3, 4), 0.5)
    join_folds(refit, trained)
    return refit


def _divide(run: Path, number: int) -> None:
    """Let a fold test a third of the patients of north; the refit trains on all of them."""
    table = pd.read_parquet(run / "predictions.parquet")
    # Classes come in turn: by threes, so that each fold tests all of them.
    place = table["image"].str.extract(r"(\d+)", expand=False).astype(int) // 3
    own, val = place % OF + 1 == number, place % 5 == 0
    split = np.select(
        [table["site"] == "south", own, val & (number > 0)], ["test", "test", "val"], "train"
    )
    table.assign(split=split).to_parquet(run / "predictions.parquet", index=False)
    rng = np.random.default_rng(number)
    np.save(run / "embeddings.npy", rng.normal(size=(len(table), 4)).astype(np.float32))
    record = read_json(run / "run.json")
    record["files"].pop("predictions.parquet")
    write_json(run / "run.json", record)


def test_a_worse_cross_validation_is_refused_at_the_sites_of_its_folds(
    tmp_path: Path, store: str
) -> None:
    """What is compared are the answers of the folds: the refit itself has seen these patients."""
    (tmp_path / "gate.yaml").write_text(NOT_WORSE)
    verdicts = []
    for version, strength in enumerate((2.0, 0.5), 1):
        refit = write_folds(tmp_path / f"job-{version}", strength)
        shutil.copy(tmp_path / "names.key", refit.parent) if version > 1 else None
        made = register(refit, "graded", store, "test")
        verdicts.append(pass_gate(refit, "graded", made.version, store, tmp_path / "gate.yaml"))
        shutil.copy(refit.parent / "names.key", tmp_path)
    assert verdicts[0].passed
    assert not verdicts[1].passed
    assert verdicts[1].rules[0].sites == ("north", "south")


def test_folds_stand_below_their_refit(tmp_path: Path, store: str) -> None:
    refit = write_folds(tmp_path / "job", 2.0)
    for _ in range(2):
        made = register(refit, "graded", store, "test")
    client = client_of(store)
    place = client.get_run(made.tracking_run).info.experiment_id
    below = client.search_runs([place], f"tags.`{ABOVE}` = '{made.tracking_run}'")
    assert sorted(run.data.tags["fold"] for run in below) == ["fold-1", "fold-2", "fold-3"]
    for run in below:
        assert run.data.metrics["test/north/n"] == 90
        assert run.data.metrics["headline/training/auroc"] > 0.8
        assert not [key for key in run.data.metrics if "south" in key or "held_out" in key]
        assert "few of them" in run.data.tags["mlflow.note.content"]
    assert client.get_run(made.tracking_run).data.tags["fold"] == "refit"


def test_a_report_says_that_the_folds_are_gone_and_does_without_them(tmp_path: Path) -> None:
    more = {"evaluation": {"parts": ["ood"], "metrics": {"resamples": 100}}}
    refit = write_folds(tmp_path / "job", 2.0, **more)
    models = fold_models(refit)
    assert models is not None
    assert sorted(models) == [0, 1, 2, 3]
    page = evaluate_run(refit).report.read_text(encoding="utf-8")
    assert "Does it notice foreign images?" in page
    assert "by the model that answered it" in page
    assert "cross-validated in 3 folds" in page
    assert "by the one of 3 models that had not seen the patient" in page.split('id="sites"')[0]
    record = read_json(refit.parent / "fold-2" / "run.json")
    write_json(refit.parent / "fold-2" / "run.json", record | {"key": "of another training"})
    assert fold_runs(refit) is None
    page = evaluate_run(refit).report.read_text(encoding="utf-8")
    assert "Does it notice foreign images?" not in page
    assert "were trained anew since" in page


@pytest.mark.parametrize("changed", [False, True])
def test_an_evaluation_is_made_anew_where_patients_changed_their_folds(
    tmp_path: Path, changed: bool
) -> None:
    """Which fold a row is of decides its threshold: the same answers are then another evaluation."""
    refit = write_folds(tmp_path / "job", 2.0)
    before = evaluate_run(refit).key
    file = refit / "out_of_fold" / "predictions.parquet"
    table = pd.read_parquet(file)
    if changed:
        table["fold"] = table["fold"].where(table["fold"] == 0, table["fold"] % OF + 1)
    table.to_parquet(file, index=False)
    RunFolder(refit).add(["out_of_fold/predictions.parquet"], {})
    assert (evaluate_run(refit).key != before) == changed
