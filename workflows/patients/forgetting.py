"""A patient withdraws consent: what offsite made goes, or is made again as if it had never had them.

The steps are taken in an order in which each can be taken twice; the cohort's rows go last but one,
and the record says ``running`` until the end. So a killed command, given again, ends alike.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.tracking.withdrawal import logged_under
from offsite.locks import alone, writing
from offsite.tables.words import tidy
from offsite.training.run_folder import RunFolder
from offsite.workflows.doubts.finding import find_doubts
from offsite.workflows.doubts.writing import FOLDER as DOUBTS
from offsite.workflows.doubts.writing import drop_list, write_doubts
from offsite.workflows.jobs.forgotten import DONE, Forgotten
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients import entries
from offsite.workflows.patients.distance import drop_stash, stash, unstash
from offsite.workflows.patients.found import (
    FORGETTING,
    LEFT,
    REMOVED,
    Found,
    Held,
    fate_of,
    find,
    holdings,
    is_ours,
    look,
)
from offsite.workflows.patients.identity import Identity, unknown_patient
from offsite.workflows.patients.readiness import MENDABLE, refuse_unready
from offsite.workflows.patients.run_plans import AGAIN, CLEARED, RunPlan, run_folders
from offsite.workflows.patients.store import bring_up_to_date, logged_of, withdraw_from
from offsite.workflows.patients.traces import is_named
from offsite.workflows.pipeline.running import LOCK
from offsite.workflows.stages.comparison import compare, comparison_path
from offsite.workflows.stages.evaluation import evaluate_run
from offsite.workflows.stages.registration import package
from offsite.workflows.stages.training import train
from offsite.written import LIST, listed, replacing_own, strike


def forget(
    job: Job,
    name: str,
    also: Sequence[Path] = (),
    ask: Callable[[Sequence[Held]], None] | None = None,
) -> entries.Done:
    """Take a patient out of a job.

    Parameters
    ----------
    ask : callable, optional
        Is given what holds the patient before anything is changed; it raises to have nothing done.

    Raises
    ------
    InputError
        Code ``no_such_patient``, ``forgotten_already``, ``folder_in_use``, those of
        `refuse_unready`, or the cohort or the store cannot be used. Nothing is changed then.
    """
    name = tidy(name)
    entry, found = Forgotten(job).of(name), find(job, name, also)
    if entry is None and found.is_nothing:
        raise unknown_patient(job)
    if entry is not None and entry["status"] == DONE:
        still = list(holdings(job, found))
        if all(each.then.startswith(LEFT) for each in still):
            if not entry["serving"]:
                raise entries.already(job, entry, left=bool(still))
            if ask is not None:
                ask(still)
            return _when_replaced(job, entry)
    if ask is not None:
        ask(list(holdings(job, found)))
    with ExitStack() as held:
        _hold(job, held)
        found = find(job, name, also)  # it may be another since somebody let go
        refuse_unready(job, found)
        forgotten = Forgotten(job, make_key=True)
        begun = entries.begun(job, found, forgotten, name)
        forgotten.keep(begun)
        done = _do(job, found, begun, forgotten)
        forgotten.keep(entries.ended(begun, done))
        return done


def _hold(job: Job, held: ExitStack) -> None:
    """Hold all that any command of the job would hold while it writes."""
    job.output.mkdir(parents=True, exist_ok=True)
    held.enter_context(
        alone(job.output / LOCK, problem="a run of the workflow works in this folder")
    )
    for name in (*(stage.name for stage in job.modality.stages), "compare", "doubts", "forget"):
        held.enter_context(writing(job.output, name))
    for folder, _ in run_folders(job):
        held.enter_context(writing(folder))
    held.enter_context(writing(job.cohort_path.parent, "cohort"))


def _do(job: Job, found: Found, begun: dict[str, Any], forgotten: Forgotten) -> entries.Done:
    plans = [RunPlan.model_validate(run) for run in begun["plan"]["runs"]]
    kept = job.output / FORGETTING
    for number, plan in enumerate(plans):
        if plan.becomes == AGAIN:
            predictions = job.output / plan.folder / "predictions.parquet"
            if (RunFolder(predictions.parent).record() or {}).get("key") == plan.key:
                stash(predictions, kept / f"{number}.parquet", found.patient.images)
    _remove_images(found)
    reduced = job.with_cohort(found.reduced)
    done = entries.Done()
    for number, plan in enumerate(plans):
        done.runs.append(_dealt_with(job, found, plan, kept / f"{number}.parquet"))
    _remember_distances(begun.get("told", []), done.runs)
    forgotten.keep(begun | {"told": [entries.nameless(run) for run in done.runs]})
    if begun["plan"]["compared"]:
        _compare_again(reduced, begun["plan"]["baseline"])
    if begun["plan"]["doubts"]:
        _list_again(reduced, begun["plan"]["doubts"])
    before = [logged_of(one) for one in begun["plan"]["logged"]]
    done.store = bring_up_to_date(job, found.reduced, plans, before)
    for path in look(job, found.patient).others:
        if path.name == LIST:
            _strike_names(path.parent, found.patient)
        elif fate_of(job, path, found.patient) == REMOVED and path.parent != kept:
            _remove_other(path)
    _take_rows_out(job.cohort_path, found.rows)
    drop_stash(kept)
    done.left = _left(job, found)
    return done


def _remove_images(found: Found) -> None:
    for held in found.files:
        if held.remove is not None:
            with contextlib.suppress(InputError):  # somebody wrote into it: it is told as left
                held.remove()
    for table in found.tables:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False)
        with contextlib.suppress(InputError), replacing_own(table) as temporary:
            kept = rows[~rows["slide"].isin(found.patient.slides)]
            kept.to_csv(temporary, index=False, lineterminator="\n")


def _dealt_with(job: Job, found: Found, plan: RunPlan, kept: Path) -> dict[str, Any]:
    """Make a run again, or clear it; what is told of it."""
    folder = job.output / plan.folder
    told: dict[str, Any] = {
        "folder": plan.folder, "method": plan.method, "becomes": plan.becomes, "why": plan.why,
        "before": plan.key,
    }  # fmt: skip
    if plan.becomes == CLEARED:
        RunFolder(folder).clear()
    if plan.becomes != AGAIN:
        return told
    try:
        train(plan.job(job, found.reduced), plan.cell)
    except InputError as error:
        if error.code in MENDABLE:
            raise
        RunFolder(folder).clear()
        why = f"without the patient: {error.problem}"
        return told | {"becomes": CLEARED, "why": why, "code": error.code}
    if plan.evaluated:
        _evaluate_again(folder, plan)
    if plan.packaged:
        package(folder)
    distance = unstash(folder / "predictions.parquet", kept)
    record = RunFolder(folder).record() or {}
    return told | {
        "after": record.get("key"),
        "distance": None if distance is None else asdict(distance),
        "signed_before": plan.signed,
    }


def _evaluate_again(folder: Path, plan: RunPlan) -> None:
    if plan.shortcuts:
        with contextlib.suppress(InputError):  # images are not there any more
            evaluate_run(folder, shortcuts=True)
            return
    evaluate_run(folder)


def _remember_distances(earlier: list[dict[str, Any]], runs: list[dict[str, Any]]) -> None:
    """Take from an earlier call what was measured against answers that are there no more."""
    known = {run["folder"]: run.get("distance") for run in earlier}
    for run in runs:
        if "distance" in run and run["distance"] is None:
            run["distance"] = known.get(run["folder"])


def _compare_again(job: Job, baseline: str | None) -> None:
    try:
        compare(job, baseline)
    except InputError:  # a run is gone
        beside = [job.output / f"{name}.csv" for name in ("seeds", "seed_agreement")]
        for file in (comparison_path(job), comparison_path(job).with_suffix(".html"), *beside):
            with contextlib.suppress(InputError):
                strike(file)


def _list_again(job: Job, most: int) -> None:
    """Make the list of doubtful labels again; where that cannot be, there is none."""
    drop_list(job.output)
    with contextlib.suppress(InputError):
        title = job.configuration.title
        write_doubts(find_doubts(job), job.output / DOUBTS, title=title, most=most)


def _strike_names(folder: Path, patient: Identity) -> None:
    """Take files of the patient that are gone out of the list of a folder."""
    for name in listed(folder):
        if is_named(Path(name), patient) and not os.path.lexists(folder / name):
            strike(folder / name)


def _remove_other(path: Path) -> None:
    if path.suffix == ".log":
        path.unlink(missing_ok=True)
        return
    with contextlib.suppress(InputError):
        strike(path)


def _take_rows_out(table: Path, rows: Sequence[int]) -> None:
    """Write a cohort's table without rows, where offsite wrote it."""
    if not rows or not is_ours(table):
        return
    places = [row - 2 for row in rows]  # the header is row 1
    with replacing_own(table) as temporary:
        if table.suffix.lower() == ".parquet":
            frame = pd.read_parquet(table)
            frame.drop(index=frame.index[places]).to_parquet(temporary, index=False)
        else:
            frame = pd.read_csv(table, dtype=str, keep_default_na=False, skip_blank_lines=False)
            kept = frame.drop(index=frame.index[places])
            kept.to_csv(temporary, index=False, lineterminator="\n")


def _left(job: Job, found: Found) -> list[Held]:
    """What still holds the patient: originals, what is not offsite's, and what it cannot make."""
    still = replace(look(job, found.patient), elsewhere=found.elsewhere)
    return [held for held in holdings(job, still) if held.then.startswith(LEFT)]


def _when_replaced(job: Job, entry: dict[str, Any]) -> entries.Done:
    """Delete what was serving, once its alias has moved on."""
    with ExitStack() as held:
        _hold(job, held)
        done = entries.Done(runs=entry["runs"])
        before = [logged_of(one) for one in entry["serving"]]
        there = logged_under(job.tracking_uri, (one.key for one in before))
        if any(v.serves for one in there for v in one.versions):
            raise entries.already(job, entry)
        withdraw_from(job, before, done.store)
        serving = [asdict(one) for one in done.store.serving]
        deleted = sorted({*entry["deleted"], *done.store.deleted})
        Forgotten(job).keep(entry | {"serving": serving, "deleted": deleted})
        return done
