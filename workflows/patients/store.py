"""MLflow after a patient was forgotten: what was made again is there, and what it replaces is not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from offsite.evaluation.tracking.withdrawal import (
    Logged,
    Version,
    gc_command,
    logged_under,
    withdraw,
)
from offsite.files import write_text
from offsite.preprocessing.cohort.table import Cohort
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients.run_plans import AGAIN, RunPlan
from offsite.workflows.stages.registration import register
from offsite.workflows.stages.tracking import track_run


@dataclass
class Store:
    """What was done in MLflow.

    Attributes
    ----------
    deleted : list of str
        Its runs that were deleted.
    serving : list of Logged
        Its runs that stay because a version of theirs serves.
    registered : list of str
        Addresses of the versions of runs that were made again.
    gc : str
        The administrator's command, or "".
    """

    deleted: list[str] = field(default_factory=list)
    serving: list[Logged] = field(default_factory=list)
    registered: list[str] = field(default_factory=list)
    gc: str = ""


def bring_up_to_date(
    job: Job, reduced: Cohort, plans: list[RunPlan], before: Sequence[Logged]
) -> Store:
    """Log and register what was made again, then delete what it was made of before."""
    store, uri = Store(), job.tracking_uri
    folders = {plan.key: plan for plan in plans}
    for one in before:
        plan = folders.get(one.key)
        gone = plan is None or not (job.output / plan.folder / "run.json").is_file()
        if plan is None or gone or plan.becomes != AGAIN:
            continue
        experiment = plan.job(job, reduced).configuration.tracking.experiment
        names = sorted({version.name for version in one.versions})
        for name in names:
            made = register(job.output / plan.folder, name, uri, experiment)
            store.registered.append(made.address)
        if not names and plan.evaluated:
            track_run(job.output / plan.folder, uri, experiment)
    withdraw_from(job, before, store)
    return store


def withdraw_from(job: Job, logged: Sequence[Logged], store: Store) -> None:
    """Delete runs and their versions, but for those that serve; the store's lists say which."""
    there = {one.run: one for one in logged_under(job.tracking_uri, (o.key for o in logged))}
    store.serving = withdraw(job.tracking_uri, [there[o.run] for o in logged if o.run in there])
    staying = {one.run for one in store.serving}
    store.deleted = sorted(one.run for one in logged if one.run not in staying)
    if store.deleted:
        store.gc = gc_command(job.tracking_uri, store.deleted)
    _point_to_new(job, logged, store)


def _point_to_new(job: Job, logged: Sequence[Logged], store: Store) -> None:
    """Let the workflow's note of what it registered name what is there."""
    note = job.output / "workflow" / "registered.txt"
    before = {f"{version.address}\n" for one in logged for version in one.versions}
    if store.registered and note.is_file() and note.read_text(encoding="utf-8") in before:
        write_text(note, f"{store.registered[-1]}\n")


def logged_of(one: dict[str, Any]) -> Logged:
    """Return what `dataclasses.asdict` made of it."""
    versions = (Version(v["name"], v["version"], tuple(v["aliases"])) for v in one["versions"])
    return Logged(one["run"], one["key"], tuple(versions))
