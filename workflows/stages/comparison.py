"""The comparison of a job's methods on the same test images."""

from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.evaluation.report.comparing import write_comparison
from offsite.evaluation.tables.comparison import compare_methods
from offsite.evaluation.tables.reading import table_text
from offsite.locks import writing
from offsite.training.cells import Cell
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.evaluation import finished_run
from offsite.written import check_own, write_own

BASELINES = ("cross_entropy", "erm")


def compare(job: Job, baseline: str | None = None) -> pd.DataFrame:
    """Compare the methods of a job over their seeds, and write ``comparison.csv``.

    Where each site was held out in turn, a method's predictions of every site come from the run
    that never saw it, so that the table is of unseen sites alone.

    Parameters
    ----------
    baseline : str, optional
        What the others are compared with; plain cross-entropy (``cross_entropy``, ``erm``) where
        the job has it, else its first method.

    Raises
    ------
    InputError
        A run is not finished, or the baseline is not a method of the job.
    """
    with writing(job.output, "compare"):
        return _compared(job, baseline)


def _compared(job: Job, baseline: str | None) -> pd.DataFrame:
    methods = list(dict.fromkeys(cell.method for cell in job.cells()))
    compared_with = baseline or next((name for name in BASELINES if name in methods), methods[0])
    if compared_with not in methods:
        raise InputError(
            f"no runs of the baseline '{compared_with}'",
            file=job.file,
            remedy=f"The job's methods are {', '.join(methods)}",
        )
    for file in (comparison_path(job), comparison_path(job).with_suffix(".html")):
        check_own(file)
    settings = job.configuration.report_settings().metrics
    tables = []
    for division, cells in _divisions(job).items():
        groups = {method: _by_seed(job, cells, method) for method in methods}
        table = compare_methods(groups, compared_with, settings)
        table.insert(0, "division", division)
        tables.append(table)
    whole = pd.concat(tables, ignore_index=True)
    write_own(comparison_path(job), table_text(whole))
    write_comparison(
        whole,
        comparison_path(job).with_suffix(".html"),
        baseline=compared_with,
        title=job.configuration.title,
        confidence=settings.confidence,
        alarm_level=settings.alarm_level,
    )
    return whole


def _divisions(job: Job) -> dict[str, list[Cell]]:
    """The runs that speak of the same test images, by the name of their division."""
    if job.configuration.cells.protocol == "leave_one_site_out":
        return {"each site held out in turn": job.cells()}
    divisions: dict[str, list[Cell]] = {}
    for cell in job.cells():
        divisions.setdefault(cell.division, []).append(cell)
    return divisions


def comparison_path(job: Job) -> Path:
    """Return where the comparison of a job is written."""
    return job.output / "comparison.csv"


def _by_seed(job: Job, cells: list[Cell], method: str) -> list[Predictions]:
    of_method = [cell for cell in cells if cell.method == method]
    seeds = dict.fromkeys(cell.seed for cell in of_method)
    return [_joined(job, [cell for cell in of_method if cell.seed == seed]) for seed in seeds]


def _joined(job: Job, cells: list[Cell]) -> Predictions:
    """The predictions of one seed; over several divisions, those of the held-out sites."""
    loaded = []
    for cell in cells:
        finished_run(job.run_folder(cell))
        predictions = load_predictions(job.run_folder(cell))
        if len(cells) > 1:
            predictions = predictions.select(
                predictions.table["site"].isin(cell.held_out).to_numpy()
            )
        loaded.append(predictions)
    return loaded[0] if len(loaded) == 1 else Predictions.concatenate(loaded)
