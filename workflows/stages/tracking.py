"""A run as MLflow shows it: below its method, and below a refit the folds that it joins."""

from pathlib import Path
from typing import Any

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.roles import TRAINING
from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.report.page import summary_words
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.per_site import per_site_table
from offsite.evaluation.tables.reading import check_tables, read_evaluation, read_table
from offsite.evaluation.tracking.data_parts import data_parts
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.methods import method_run, show_under, tell_method
from offsite.evaluation.tracking.told import Told, milliseconds
from offsite.files import digest_of, read_json
from offsite.training.cells import Cell
from offsite.workflows.console.messages import say
from offsite.workflows.stages.evaluation import EVALUATION, configuration_of, finished_run
from offsite.workflows.stages.folds import fold_runs
from offsite.workflows.stages.training import CELL

PAGES = (
    "The whole report: artifacts, `evaluation/report.html`. Every number at every site: artifacts,"
    " `per_site.csv`."
)
OF_A_FOLD = (
    "One fold of a cross-validation: its numbers are of the patients whom it tested, few of them. The"
    " run above joins all folds, and has the report."
)


def track_run(folder: str | Path, uri: str, experiment: str) -> str:
    """Log an evaluated run to MLflow; return the MLflow run's identifier.

    The run's key is its job key: logged twice it is the same MLflow run. It is shown under the run of
    its method, which tells what was found at the sites that each of them held out. The folds that a
    refit joins are shown under it, each with its curves and its numbers at the patients whom it tested.
    """
    path = Path(folder)
    record, cell = finished_run(path), read_json(path / CELL)
    evaluation = path / EVALUATION
    per_site = evaluation / "per_site.csv"
    if not per_site.is_file():
        raise InputError(
            "the run has not been evaluated", file=path, remedy="Run `offsite evaluate` on it first"
        )
    check_tables(evaluation)
    told = _told(path, record, evaluation)
    parent = method_run(uri, experiment, cell["method"], _key_of_method(path, cell), told.started)
    run = _logged(path, uri, experiment, parent, told, read_table(per_site), [evaluation])
    if Cell.of_record(cell).joins:
        _track_folds(path, uri, experiment, run)
    tell_method(uri, parent, told.finished)
    return run


def _logged(
    path: Path,
    uri: str,
    experiment: str,
    parent: str,
    told: Told,
    per_site: pd.DataFrame,
    artifacts: list[Path],
) -> str:
    record, cell = finished_run(path), read_json(path / CELL)
    held_out = ", ".join(cell["held_out"]) or "none"
    return log_run(
        uri,
        experiment,
        cell["name"],
        told=told,
        parent=parent,
        job_key=record["key"],
        params={**record["inputs"]["settings"], "held_out": held_out},
        tags={
            "method": cell["method"],
            "held_out": held_out,
            "seed": str(cell["seed"]),
            **_tags_of_fold(Cell.of_record(cell)),
            **{f"version.{name}": text for name, text in record["versions"].items()},
        },
        curves=path / "curves.jsonl",
        per_site=per_site,
        artifacts=artifacts,
    )


def _tags_of_fold(cell: Cell) -> dict[str, str]:
    return {"fold": cell.fold.name} if cell.fold is not None else {}


def _track_folds(refit: Path, uri: str, experiment: str, above: str) -> None:
    runs = fold_runs(refit)
    if runs is None:
        say(
            "the folds' runs are not there any more, or were trained anew: MLflow shows the refit alone"
        )
        return
    for run in runs.values():
        record, evaluation = finished_run(run), run / EVALUATION
        if (evaluation / "per_site.csv").is_file():  # somebody asked for its own report
            check_tables(evaluation)
            table = read_table(evaluation / "per_site.csv")
            told, artifacts = _told(run, record, evaluation), [evaluation]
        else:
            table, told, artifacts = _tested_by(run), _told(run, record), []
        logged = _logged(run, uri, experiment, above, told, table, artifacts)
        show_under(uri, logged, above)


def _tested_by(run: Path) -> pd.DataFrame:
    """The per-site table of the patients of training sites whom a fold tested."""
    predictions = load_predictions(run)
    settings = configuration_of(run).report_settings().metrics
    inside = (predictions.table["site_role"] == TRAINING).to_numpy()
    return per_site_table(Sites.of(predictions.select(inside), settings))


def _told(path: Path, record: dict[str, Any], evaluation: Path | None = None) -> Told:
    columns = ["image", "patient", "site", "split", "label"]
    parts = data_parts(pd.read_parquet(path / "predictions.parquet", columns=columns))
    primary, points, findings = configuration_of(path).report_settings().primary_metric, None, []
    if evaluation is not None:
        evaluated = read_evaluation(evaluation)
        primary = evaluated.facts.get("primary_metric")
        points, findings = evaluated.table("operating_points"), summary_words(evaluated)
    return Told(
        primary=str(primary or ""),
        points=points,
        findings=findings,
        pages=OF_A_FOLD if evaluation is None else PAGES,
        parts=parts,
        weights=str(record["files"].get("weights.safetensors", "")),
        started=milliseconds(record.get("started")),
        finished=milliseconds(record.get("finished")),
    )


def _key_of_method(path: Path, cell: dict[str, Any]) -> str:
    """A key for the runs of one method and job; two jobs of one title and kind share it."""
    configuration = configuration_of(path)
    return digest_of(["method", configuration.task, configuration.title, cell["method"]])
