"""The cohort of a job, divided as one of its runs wants it."""

from offsite.preprocessing.cohort.folds import split_fold, whole_cohort
from offsite.preprocessing.cohort.splits import split_cohort
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.cells import Cell
from offsite.workflows.jobs.job import Job


def split_of(job: Job, cell: Cell) -> Cohort:
    """Divide the cohort as a run wants it.

    The division has its own seed, equal for all runs; with ``cells.divide_by_seed`` that of a
    run's folds is the run's.

    Raises
    ------
    InputError
        As `offsite.preprocessing.cohort.splits.split_cohort` and
        `offsite.preprocessing.cohort.folds.split_fold`.
    """
    wanted = job.configuration.cells
    settings = job.configuration.splits.model_copy(update={"held_out_sites": cell.held_out})
    fold = cell.fold
    if fold is None:
        return split_cohort(job.cohort, settings)
    if fold.is_refit:
        return whole_cohort(job.cohort, settings)
    by_seed = cell.seed + 1 if wanted.divide_by_seed else 0
    seed = (settings.seed, fold.repeat, by_seed)
    return split_fold(job.cohort, settings, folds=fold.of, number=fold.number, seed=seed)
