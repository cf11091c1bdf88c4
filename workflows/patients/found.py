"""All that holds a patient in a job, and what forgetting would do with it; nothing is changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from offsite.evaluation.tracking.withdrawal import Logged, logged_under
from offsite.files import is_plain_file
from offsite.preprocessing.cohort.table import Cohort
from offsite.tables.words import tidy
from offsite.training.held_files import HeldFile
from offsite.workflows.doubts.writing import FOLDER as DOUBTS
from offsite.workflows.doubts.writing import listed_doubts
from offsite.workflows.jobs.forgotten import RECORD
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients.identity import Identity, cohort_with, identity_of, stage_tables
from offsite.workflows.patients.run_plans import YOURS, RunPlan, is_of_run, plans_of
from offsite.workflows.patients.traces import holding, is_named, links_out
from offsite.workflows.stages.comparison import comparison_path
from offsite.written import LIST, is_own

ROWS_GO, REMOVED, MADE_AGAIN = "rows removed", "removed", "made again"
LEFT = YOURS
FORGETTING = "forgetting"
"""The folder, below a job's output, of what forgetting keeps until it is done."""


@dataclass(frozen=True)
class Held:
    """Something that holds a patient.

    Attributes
    ----------
    what, where, then : str
        Its kind, its place, and what `offsite patient forget` does with it.
    """

    what: str
    where: str
    then: str


@dataclass(frozen=True)
class Found:
    """All that holds a patient.

    Attributes
    ----------
    patient : Identity
    reduced : Cohort
        The cohort without the patient.
    rows : tuple of int
        Its rows in the file, as a spreadsheet counts: the header is 1.
    files : list of HeldFile
        Made of its images, as the modality says.
    tables : list of Path
        Of stages, with a row for each image.
    runs : list of RunPlan
    logged : list of Logged
        MLflow's runs of these.
    others : list of Path
        Further files below the output.
    elsewhere : list of Path
        Files of the folders that were named.
    links : list of Path
        Links below the output to folders elsewhere. What is behind them was not looked through.
    """

    patient: Identity
    reduced: Cohort
    rows: tuple[int, ...]
    files: list[HeldFile]
    tables: list[Path]
    runs: list[RunPlan]
    logged: list[Logged]
    others: list[Path]
    elsewhere: list[Path]
    links: list[Path]

    @property
    def is_nothing(self) -> bool:
        """Whether nothing holds the patient."""
        known = self.patient.slides or self.rows or self.tables or self.others or self.elsewhere
        return not known and not any(plan.named for plan in self.runs)


def find(job: Job, name: str, also: Sequence[Path] = ()) -> Found:
    """Look for a patient in a job's cohort, results and MLflow store, and in further folders.

    Raises
    ------
    InputError
        The cohort cannot be used, or the store cannot be asked.
    """
    return look(job, identity_of(job, cohort_with(job), tidy(name)), also)


def look(job: Job, patient: Identity, also: Sequence[Path] = ()) -> Found:
    """Look for a patient as `find` does, by what was known of it before."""
    cohort = cohort_with(job)
    here = (cohort.table["patient"] == patient.patient).to_numpy()
    reduced = cohort.with_table(cohort.table[~here])
    runs = plans_of(job, reduced, patient)
    files = job.modality.held_files(job, sorted(patient.slides)) if job.modality.held_files else []
    tables = [
        file
        for stage in job.modality.stages
        for file in stage_tables(job, stage.table)
        if _has_rows(file, patient)
    ]
    return Found(
        patient=patient,
        reduced=reduced,
        rows=tuple(int(row) for row in cohort.table.index[here]),
        files=files,
        tables=tables,
        runs=runs,
        logged=logged_under(job.tracking_uri, (plan.key for plan in runs)),
        others=list(_others(job, patient, {*tables, *(each.path for each in files)}, runs)),
        elsewhere=list(_elsewhere(job, cohort, patient, also)),
        links=list(links_out(job.output)),
    )


def _has_rows(table: Path, patient: Identity) -> bool:
    slides = pd.read_csv(table, dtype=str, keep_default_na=False)
    return "slide" in slides and bool(slides["slide"].isin(patient.slides).any())


def _others(job: Job, patient: Identity, known: set[Path], runs: list[RunPlan]) -> Iterator[Path]:
    folders = [job.output / plan.folder for plan in runs]
    for path in holding(job.output, patient):
        of_run = any(path.is_relative_to(each) and is_of_run(each, path) for each in folders)
        if path not in known and not of_run and path.name != RECORD:
            yield path


def _elsewhere(job: Job, cohort: Cohort, patient: Identity, also: Sequence[Path]) -> Iterator[Path]:
    """What the named folders hold beside the job's table, images and results."""
    known = {path.resolve() for path in (cohort.path, *cohort.image_paths())}
    for folder in also:
        for path in holding(folder, patient):
            whole = path.resolve()
            if whole not in known and not whole.is_relative_to(job.output.resolve()):
                yield path


def is_ours(file: Path) -> bool:
    """Whether a file is one that offsite wrote, as it wrote it, and no link to one."""
    return is_plain_file(file) and is_own(file)


def fate_of(job: Job, path: Path, patient: Identity) -> str:
    """Say what becomes of a further file below the output.

    What offsite wrote of this patient alone, and logs of the workflow, go. A table or page of many
    patients is its maker's to make again, but for the comparison.
    """
    if path.parent.name == FORGETTING and path.parent.parent == job.output:
        return REMOVED
    if path.name == LIST:
        return ROWS_GO
    if path in (comparison_path(job), comparison_path(job).with_suffix(".html")):
        return MADE_AGAIN
    if path.parent == job.output / DOUBTS and is_ours(path) and listed_doubts(job.output):
        return MADE_AGAIN  # of a list that was filled in the page stays beside it
    if path.is_relative_to(job.output / "workflow" / "logs") and path.suffix == ".log":
        return REMOVED
    inside = path.relative_to(job.output)
    return REMOVED if is_named(inside, patient) and is_ours(path) else LEFT


def holdings(job: Job, found: Found) -> Iterator[Held]:
    """Yield a line for each thing that holds the patient, in the order in which it is dealt with."""
    table = job.cohort_path
    if found.rows:
        rows = ", ".join(map(str, found.rows))
        yield Held("cohort, rows " + rows, str(table), ROWS_GO if is_ours(table) else LEFT)
    for image in sorted(found.patient.images):
        if (table.parent / image).is_file():
            yield Held("original", str(table.parent / image), LEFT)
    for held in found.files:
        yield Held(held.what, _shown(job, held.path), REMOVED if held.remove else LEFT)
    for file in found.tables:
        yield Held("table of a stage", _shown(job, file), ROWS_GO if is_ours(file) else LEFT)
    for plan in found.runs:
        then = f"{plan.becomes}: {plan.why}" if plan.why else plan.becomes
        yield Held("run", _shown(job, job.output / plan.folder), then)
    for one in found.logged:
        serving = any(version.serves for version in one.versions)
        yield Held("run of MLflow", one.run, LEFT if serving else REMOVED)
        for version in one.versions:
            named = ", ".join(f"@{alias}" for alias in version.aliases)
            what = f"registered version{' ' + named if named else ''}"
            yield Held(what, version.address, LEFT if version.serves else REMOVED)
    for path in found.others:
        yield Held("file", _shown(job, path), fate_of(job, path, found.patient))
    for path in found.elsewhere:
        yield Held("file elsewhere", str(path), LEFT)
    for path in found.links:
        yield Held("link to a folder elsewhere", _shown(job, path), f"{LEFT}: not looked through")


def _shown(job: Job, path: Path) -> str:
    folder = job.file.parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
