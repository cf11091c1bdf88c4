"""The runs of a job that hold a patient, and what becomes of each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from offsite.errors import InputError
from offsite.files import is_plain_file, read_json
from offsite.preprocessing.cohort.table import Cohort
from offsite.settings import Settings
from offsite.training.cells import Cell
from offsite.training.run_folder import (
    EVALUATED,
    NUISANCES,
    OWNED,
    OWNED_FOLDERS,
    PACKAGE_FILES,
    RECORD,
    RunFolder,
)
from offsite.workflows.jobs.configuration import Configuration
from offsite.workflows.jobs.dividing import split_of
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients.identity import Identity
from offsite.workflows.patients.traces import holding
from offsite.workflows.stages.evaluation import EVALUATION, configuration_of
from offsite.workflows.stages.registration import PACKAGE
from offsite.workflows.stages.training import CELL

RUNS = "runs"
"""The folder, below a job's output, of its runs: what lies elsewhere somebody put there."""
AGAIN, CLEARED, YOURS = "made again without the patient", "removed", "left to you"


class RunPlan(Settings):
    """A run that holds a patient, with all that is needed to make it again once it is gone."""

    folder: str = Field(description="Relative to the job's output")
    key: str = Field(description="Of run.json")
    becomes: str = Field(description="AGAIN, CLEARED or YOURS")
    named: bool = Field(description="Whether a file of it holds the patient")
    why: str = Field("", description="Why it is not made again, in the middle of a sentence")
    method: str = ""
    held_out: tuple[str, ...] = ()
    seed: int = 0
    fold: dict[str, int] | None = None
    configuration: dict[str, object] = Field(default_factory=dict)
    evaluated: bool = False
    shortcuts: bool = False
    packaged: bool = False
    signed: bool = False

    @property
    def cell(self) -> Cell:
        """The run of the job that it is."""
        return Cell.of_record(self.model_dump())

    def job(self, job: Job, reduced: Cohort) -> Job:
        """Return the job as the run was trained by it, over the cohort without the patient."""
        kind = type(job.configuration)
        configuration: Configuration = kind.model_validate(self.configuration)
        return Job(configuration, job.file).with_cohort(reduced)


def plans_of(job: Job, reduced: Cohort, patient: Identity) -> list[RunPlan]:
    """Return a plan for each run below a job's output that holds a patient, or is not finished."""
    plans = []
    for folder, facts in run_folders(job):
        own = [path for path in holding(folder, patient) if is_of_run(folder, path)]
        if own or (facts["status"] != "done" and folder.is_relative_to(job.output / RUNS)):
            plan = RunPlan(
                folder=folder.relative_to(job.output).as_posix(),
                key=str(facts["key"]),
                becomes=CLEARED,
                named=bool(own),
            )
            plans.append(_planned(plan, job, reduced, done=facts["status"] == "done"))
    return plans


def run_folders(job: Job) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder of each run below a job's output, and its record."""
    for file in sorted(job.output.rglob(RECORD)):
        try:
            facts = RunFolder(file.parent).record() if is_plain_file(file) else None
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and {"key", "status"} <= facts.keys():  # else somebody else's
            yield file.parent, facts


def is_of_run(folder: Path, path: Path) -> bool:
    """Whether a file below a run's folder is of the run, by its name."""
    parts = path.relative_to(folder).parts
    return parts[0] in (OWNED if len(parts) == 1 else OWNED_FOLDERS)


def _planned(plan: RunPlan, job: Job, reduced: Cohort, *, done: bool) -> RunPlan:
    folder = job.output / plan.folder
    if not done and not folder.is_relative_to(job.output / RUNS):
        return plan.model_copy(update={"becomes": YOURS, "why": "it is no run of this job"})
    if not (folder / CELL).is_file():
        return plan.model_copy(update={"why": "it was not finished"})
    cell, configuration = read_json(folder / CELL), configuration_of(folder)
    plan = plan.model_copy(
        update={
            "method": cell["method"],
            "held_out": tuple(cell["held_out"]),
            "seed": cell["seed"],
            "fold": cell.get("fold"),
            "configuration": configuration.model_dump(mode="json"),
            "evaluated": (folder / EVALUATION / EVALUATED).is_file(),
            "shortcuts": (folder / NUISANCES).is_file(),
            "packaged": (folder / PACKAGE / PACKAGE_FILES[0]).is_file(),
            "signed": (folder / PACKAGE / "SIGNATURE").is_file(),
        }
    )
    if "first_name" in cell:
        why = "hospitals joined or left it by their sums: let them do so again from the run that is made again"
        return plan.model_copy(update={"becomes": YOURS, "why": why})
    if not done:
        return plan.model_copy(update={"why": "it was not finished"})
    try:
        own = plan.job(job, reduced)
    except ValidationError:  # of an earlier version, with other rules
        return plan.model_copy(update={"why": "this version trains no run with its settings"})
    if own.run_folder(plan.cell) != folder:
        return plan.model_copy(update={"becomes": YOURS, "why": "it is no run of this job"})
    try:
        split_of(own, plan.cell)
    except InputError as error:
        return plan.model_copy(update={"why": f"without the patient {error.problem}"})
    return plan.model_copy(update={"becomes": AGAIN})
