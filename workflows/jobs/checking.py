"""Whether a whole job can be done, asked before anything is computed and without opening an image.

At ten thousand images the answer takes seconds; every stage asks first.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from offsite.errors import InputError, InputErrors
from offsite.evaluation.predictions.checks import groups_of_column
from offsite.evaluation.tracking.keys import site_slugs
from offsite.evaluation.tracking.store import check_address
from offsite.preprocessing.cohort.faults import faults_at
from offsite.training.cells import Cell
from offsite.training.checking import missing_package
from offsite.workflows.jobs.dividing import split_of
from offsite.workflows.jobs.forgotten import returning_patients
from offsite.workflows.jobs.job import Job
from offsite.workflows.jobs.modalities import OWN

Faults = Iterator[InputError]

_RUN_BYTES = 200_000
"""Less than a run's weights and tables ever take."""


def check_job(job: Job, cells: Sequence[Cell] | None = None) -> None:
    """Refuse a job that could not be done to its end.

    Parameters
    ----------
    job : Job
        Its settings are checked already.
    cells : sequence of Cell, optional
        Runs to look at; by default all of the job.

    Raises
    ------
    InputErrors
        Everything that is wrong, of all checks of `CHECKS` and of the modality.
    """
    # What is wrong with the table would be said of everything that is made from it.
    faults = list(_cohort(job))
    if not faults:
        wanted = job.cells() if cells is None else list(cells)
        faults = [fault for check in CHECKS.values() for fault in check(job, wanted)]
        faults += [fault for check in job.modality.checks.values() for fault in check(job)]
    if faults:
        raise InputErrors(faults)


def _faults_of(error: InputError) -> list[InputError]:
    return error.faults if isinstance(error, InputErrors) else [error]


def _cohort(job: Job) -> Faults:
    try:
        job.cohort  # noqa: B018 (read, and so checked)
        job.cells()
    except InputError as error:
        yield from _faults_of(error)


def _splits(job: Job, cells: Sequence[Cell]) -> Faults:
    """Every division of the cohort that the runs ask for can be made."""
    said = set()
    for cell in _divisions(job, cells):
        try:
            split_of(job, cell)
        except InputError as error:
            without = f" (held out: {', '.join(cell.held_out) or 'none'})"
            for fault in _faults_of(error):
                if str(fault) not in said:
                    said.add(str(fault))
                    fault.problem += without
                    yield fault


def _groups(job: Job, cells: Sequence[Cell]) -> Faults:
    """The columns that the evaluation groups patients by are there, and hold few groups."""
    faults: dict[str, InputError] = {}
    by = job.configuration.evaluation.by
    for cell in _divisions(job, cells) if by else ():
        try:
            table = split_of(job, cell).table
        except InputError:  # told by `splits`
            continue
        for column in by:
            try:
                groups_of_column(table[table["split"] == "test"], column)
            except InputError as error:
                error.file = str(job.cohort.path)
                faults.setdefault(column, error)
    yield from faults.values()


def _divisions(job: Job, cells: Sequence[Cell]) -> list[Cell]:
    """A run of each division of the cohort that there is among some runs."""
    by_seed = job.configuration.cells.divide_by_seed
    first = {(cell.held_out, cell.fold, cell.seed if by_seed else 0): cell for cell in cells}
    return list(first.values())


def _names(job: Job, cells: Sequence[Cell]) -> Faults:
    """No two sites are one key in MLflow; spellings so near that runs would share a folder are the cohort's."""
    try:
        site_slugs(job.cohort.sites)
    except InputError as error:
        error.file, error.column = str(job.cohort.path), "site"
        yield error


def _store(job: Job, cells: Sequence[Cell]) -> Faults:
    """The address of the MLflow store is one; whether a server answers is not asked."""
    try:
        check_address(job.tracking_uri)
    except InputError as error:
        error.file = str(job.file)
        yield error


def _tasks(job: Job, cells: Sequence[Cell]) -> Faults:
    """The tasks of the evaluation name classes of the job."""
    classes = job.configuration.classes
    for name, task in job.configuration.report_settings().metrics.tasks.items():
        if unknown := [label for label in task.positive_classes if label not in classes]:
            yield InputError(
                f"task '{name}' of the evaluation names {', '.join(unknown)}, which is no class",
                file=job.file,
                remedy=f"The classes are {', '.join(classes)}",
                code="unknown_class",
            )


def _kinds(job: Job, cells: Sequence[Cell]) -> Faults:
    """No image is by its name of a kind that only another modality reads."""
    if not job.configuration.reads_images():
        return
    read = {end for known in job.modality.formats for end in known.suffixes}
    elsewhere = {
        end: other.reads
        for other in OWN.values()
        for known in other.formats
        for end in known.suffixes
        if end not in read
    }
    table = job.cohort.table.set_axis(
        range(2, len(job.cohort.table) + 2)
    )  # as a spreadsheet counts
    ends = [Path(image).suffix.lower() for image in table["image"]]
    for end in dict.fromkeys(one for one in ends if one in elsewhere):
        yield from faults_at(
            [row for row, one in enumerate(ends) if one == end],
            job.cohort.path,
            "image",
            f"{end} is a format of {elsewhere[end]}, and the job reads {job.modality.reads}",
            f"Give the job a table of {job.modality.reads} alone, read from {_formats(job)}",
            table,
            "wrong_kind",
        )


def _packages(job: Job, cells: Sequence[Cell]) -> Faults:
    """The optional packages of the image formats are installed."""
    if not job.configuration.reads_images():
        return
    ends = {Path(image).suffix.lower() for image in job.cohort.table["image"]}
    for known in job.modality.formats:
        if known.package and ends & {*known.suffixes} and find_spec(known.package) is None:
            yield missing_package(job.file, known.package, f"reading {known.name}")


def _formats(job: Job) -> str:
    return ", ".join(known.name for known in job.modality.formats)


def _room(job: Job, cells: Sequence[Cell]) -> Faults:
    """The output folder can be made, and the disk holds the least that the job can take."""
    folder = job.output.absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        yield InputError(
            "the output folder cannot be made: a file is in its way",
            file=nearest,
            remedy="Set 'output' to another folder, or move the file",
            code="folder_in_use",
        )
        return
    runs = sum(not (job.run_folder(cell) / "predictions.parquet").is_file() for cell in cells)
    needed = job.modality.bytes_to_do(job) + runs * _RUN_BYTES
    free = shutil.disk_usage(nearest).free
    if free < needed:
        yield InputError(
            f"the disk is full: {_megabytes(free)} are left, and what is still to do takes at"
            f" least {_megabytes(needed)}",
            file=nearest,
            remedy="Make room, then run the same command: what is done stays",
            code="disk_full",
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


CHECKS: dict[str, Callable[[Job, Sequence[Cell]], Faults]] = {
    "kinds": _kinds,
    "splits": _splits,
    "names": _names,
    "store": _store,
    "tasks": _tasks,
    "groups": _groups,
    "packages": _packages,
    "room": _room,
    "withdrawn": returning_patients,
}
"""What is asked of every job beside the settings and the cohort table; docs/workflow.md lists it, and
what each modality asks (`offsite.training.modality.Modality.checks`)."""
