"""The comparison of a job's methods on the same test images."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.evaluation.report.comparing import write_comparison
from offsite.evaluation.report.sections.models import seeds_sections
from offsite.evaluation.tables.comparison import compare_methods
from offsite.evaluation.tables.reading import table_text
from offsite.evaluation.tables.seeds import seed_tables
from offsite.evaluation.tables.shared_folds import corrected_variance
from offsite.locks import writing
from offsite.training.cells import Cell, Fold
from offsite.workflows.jobs.configuration import CellSettings
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.evaluation import finished_run
from offsite.workflows.stages.folds import joined_folds
from offsite.written import check_own, write_own

BASELINES = ("cross_entropy", "erm")


def compare(job: Job, baseline: str | None = None) -> pd.DataFrame:
    """Compare the methods of a job over their seeds, and write ``comparison.csv``.

    Beside it come ``seeds.csv`` and ``seed_agreement.csv`` (`offsite.evaluation.tables.seeds`).

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
    page = comparison_path(job).with_suffix(".html")
    beside = {name: job.output / f"{name}.csv" for name in ("seeds", "seed_agreement")}
    for file in (comparison_path(job), page, *beside.values()):
        check_own(file)
    settings = job.configuration.report_settings().metrics
    tables: dict[str, list[pd.DataFrame]] = {"methods": [], "seeds": [], "seed_agreement": []}
    for division, cells in _divisions(job).items():
        groups = {method: _by_seed(job, cells, method) for method in methods}
        shared = shared_training(job.configuration.cells) if cells[0].fold else 1.0
        found = {"methods": compare_methods(groups, compared_with, settings, shared)}
        for name, table in (found | seed_tables(groups, settings)).items():
            table.insert(0, "division", division)
            tables[name].append(table)
    whole = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    write_own(comparison_path(job), table_text(whole["methods"]))
    for name, file in beside.items():
        write_own(file, table_text(whole[name]))
    write_comparison(
        whole["methods"],
        page,
        baseline=compared_with,
        title=job.configuration.title,
        confidence=settings.confidence,
        alarm_level=settings.alarm_level,
        more=seeds_sections(whole["seed_agreement"]),
    )
    return whole["methods"]


def shared_training(cells: CellSettings) -> float:
    """By how much folds that share training patients vary more than their patients alone say."""
    return corrected_variance(cells.folds, cells.repeats)


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


def baseline_of(comparison: Path) -> str | None:
    """Return the method that a comparison's others were compared with; None where it cannot be told."""
    if not comparison.is_file():
        return None
    table = pd.read_csv(comparison)
    if not {"method", "difference"} <= set(table.columns):
        return None
    by_method = table.groupby("method")["difference"].count()
    alone = by_method.index[by_method == 0]
    return str(alone[0]) if len(alone) == 1 else None


def _by_seed(job: Job, cells: list[Cell], method: str) -> list[Predictions]:
    of_method = [cell for cell in cells if cell.method == method]
    if of_method[0].fold is not None:
        repeats = range(1, job.configuration.cells.repeats + 1)
        refits = [cell for cell in of_method if cell.joins]
        return [_crossed(job, refit, repeat) for refit in refits for repeat in repeats]
    seeds = dict.fromkeys(cell.seed for cell in of_method)
    return [_joined(job, [cell for cell in of_method if cell.seed == seed]) for seed in seeds]


def _crossed(job: Job, refit: Cell, repeat: int) -> Predictions:
    """One answer for each patient, of one division into folds; at held-out sites of the refit."""
    assert refit.fold is not None
    folds = []
    for number in range(1, refit.fold.of + 1):
        run = job.run_folder(replace(refit, fold=Fold(refit.fold.of, number, repeat)))
        finished_run(run)
        folds.append((number, run))
    finished_run(job.run_folder(refit))
    return joined_folds(folds, job.run_folder(refit))


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
