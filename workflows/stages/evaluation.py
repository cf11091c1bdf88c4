"""The evaluation of one run: its tables and report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.evaluating import Evaluation, evaluate
from offsite.evaluation.making import steps
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings
from offsite.files import read_json, write_json
from offsite.locks import writing
from offsite.training.cells import Cell
from offsite.training.run_folder import (
    EXCLUDED,
    NOT_TRAINED_ON,
    OUT_OF_FOLD,
    OUT_OF_FOLD_FILES,
    RunFolder,
)
from offsite.workflows.console.messages import Advance, say, stage
from offsite.workflows.jobs.configuration import Configuration, validate_configuration
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folds import OF_ONE_MODEL, fold_limits
from offsite.workflows.stages.folds import fold_models
from offsite.workflows.stages.image_tables import image_tables
from offsite.workflows.stages.shortcuts import keep_nuisances, shortcut_tables
from offsite.workflows.stages.training import CELL, CONFIGURATION

EVALUATION = "evaluation"
MEASURED_BY = ("title", "decision", "evaluation")
"""The settings of a job that the evaluation of its runs depends on, and no training."""

RETIRED = (
    ("evaluation", "selective", "seed"),
    ("evaluation", "selective", "minimum_rows"),
    ("evaluation", "shift", "level"),
)
"""Settings that earlier runs recorded and that nothing reads any more: `metrics` decides them."""


def evaluate_run(
    folder: str | Path, job: Job | None = None, *, shortcuts: bool = False
) -> Evaluation:
    """Write the evaluation of a finished run into its folder.

    Parameters
    ----------
    folder : path
        The run.
    job : Job, optional
        Measure by its settings of today, which the run then records; unset: by those recorded.
    shortcuts : bool
        Whether the images are read for what they show of their cameras, where that is not kept yet.

    Raises
    ------
    InputError
        The folder holds no finished run.
    """
    path = Path(folder)
    finished_run(path)
    with writing(path):  # a training of this run would change what is measured
        if job is not None:
            now = job.configuration.model_dump(mode="json")
            today = {name: now[name] for name in MEASURED_BY}
            write_json(path / CONFIGURATION, read_json(path / CONFIGURATION) | today)
        if shortcuts:
            keep_nuisances(path, job_of_run(path))
        return _evaluated(path)


def _evaluated(path: Path) -> Evaluation:
    record, configuration = finished_run(path), configuration_of(path)
    say(f"[bold]evaluate[/bold]  {read_json(path / CELL)['name']}")
    settings = configuration.report_settings()
    joins = judged_folder(path) != path
    models = fold_models(path) if joins and "ood" in settings.parts else None
    if joins:
        settings = _of_folds(settings, record["facts"]["folds"], foreign=models is not None)
    with stage("evaluate", len(steps(settings))) as advance:
        return _measured(path, record, settings, models, advance)


def _measured(
    path: Path,
    record: dict[str, Any],
    settings: ReportSettings,
    models: dict[int, Predictions] | None,
    advance: Advance,
) -> Evaluation:
    return evaluate(
        judged_folder(path),
        path / EVALUATION,
        settings,
        models=models,
        facts={
            "model": {
                "run": record["key"],
                "method": read_json(path / CELL)["method"],
                **record["facts"],
            },
            "seeds": {"training": read_json(path / CELL)["seed"]},
        },
        extra_tables={
            "cohort_flow": cohort_flow(path),
            **_image_tables(path),
            **shortcut_tables(path, settings.metrics),
        },
        progress=advance,
    )


def judged_folder(path: Path) -> Path:
    """Return where the predictions lie that a run is judged by.

    Those of a refit on all patients are what its folds said of the patients whom they had not seen.

    Raises
    ------
    InputError
        Code ``folds_not_joined``.
    """
    if not Cell.of_record(read_json(path / CELL)).joins:
        return path
    if not (path / OUT_OF_FOLD / OUT_OF_FOLD_FILES[0]).is_file():
        raise InputError(
            "the folds of the refit are not joined",
            file=path,
            code="folds_not_joined",
            remedy="Run `offsite train` again: it goes on",
        )
    return path / OUT_OF_FOLD


def _of_folds(settings: ReportSettings, folds: dict[str, Any], *, foreign: bool) -> ReportSettings:
    """The report's settings, of folds: only what joined answers of several models can tell."""
    left_out = OF_ONE_MODEL if foreign else (*OF_ONE_MODEL, "ood")
    parts = tuple(part for part in settings.parts if part not in left_out)
    told = foreign if "ood" in settings.parts else None
    limits = (*settings.limits, *fold_limits(folds, foreign=told))
    return settings.model_copy(update={"parts": parts, "limits": limits})


def _image_tables(path: Path) -> dict[str, pd.DataFrame]:
    """The tables of the run's images, where the job that it belongs to is still there."""
    job = job_of_run(path)
    return image_tables(job) if job.cohort_path.is_file() else {}


def job_of_run(path: Path) -> Job:
    """Return the job that a run belongs to, whether or not its files are still there."""
    return Job(configuration_of(path), Path(read_json(path / CELL)["configuration"]))


def finished_run(path: Path) -> dict[str, Any]:
    """Return the record of a finished run.

    Raises
    ------
    InputError
        There is no run, it is not finished, or one of its results is damaged.
    """
    run = RunFolder(path)
    record = run.record()
    if record is None or not (path / CELL).is_file():
        raise InputError(
            "not a run folder", file=path, remedy="Give a folder that `offsite train` printed"
        )
    if record["status"] != "done":
        raise InputError(
            "the run is not finished", file=path, remedy="Run `offsite train` again: it goes on"
        )
    if damaged := run.damaged():
        raise InputError(
            "the file is not as training wrote it",
            file=path / damaged,
            code="damaged_run",
            remedy="Run `offsite train` again: it makes the file anew",
        )
    return record


def configuration_of(path: Path) -> Configuration:
    """Return the configuration that a run was trained with, by this version or an earlier one."""
    values = read_json(path / CONFIGURATION)
    for *groups, name in RETIRED:
        group = values
        for key in groups:
            group = group.get(key, {})
        group.pop(name, None)
    return validate_configuration(values, path / CONFIGURATION, trained=True)


def cohort_flow(path: Path) -> pd.DataFrame:
    """Return, for each site, how many images were predicted and why others were not.

    Returns
    -------
    pandas.DataFrame
        ``stage, site, outcome, reason, n``.
    """
    predicted = pd.read_parquet(path / "predictions.parquet", columns=["site"])
    predicted = predicted.assign(outcome="predicted", reason="")
    listed = pd.read_csv(path / EXCLUDED, keep_default_na=False)
    kept = listed["status"] == NOT_TRAINED_ON  # these are among the predicted
    listed = listed.assign(
        outcome=np.where(kept, "of these not trained on", "excluded"), reason=listed["code"]
    )
    everything = pd.concat([predicted, listed[predicted.columns]], ignore_index=True)
    counts = everything.groupby(["site", "outcome", "reason"]).size().rename("n").reset_index()
    counts.insert(0, "stage", "prediction")
    return counts
