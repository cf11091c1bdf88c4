"""The entries of ``forgotten.json``: of what is under way, and of what is done."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from offsite.errors import InputError
from offsite.workflows.doubts.writing import listed_doubts
from offsite.workflows.jobs.forgotten import DONE, RUNNING, Forgotten
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients.found import Found, Held
from offsite.workflows.patients.store import Store
from offsite.workflows.stages.comparison import baseline_of, comparison_path


@dataclass
class Done:
    """What was done.

    Attributes
    ----------
    runs : list of dict
        Of each run that held the patient: ``folder``, ``method``, ``becomes``, ``why``, ``before`` and
        ``after`` (keys), ``distance``, ``signed_before``.
    store : Store
        In MLflow.
    left : list of Held
        What the hospital has to see to itself.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    store: Store = field(default_factory=Store)
    left: list[Held] = field(default_factory=list)


def begun(job: Job, found: Found, forgotten: Forgotten, name: str) -> dict[str, Any]:
    """Return the entry of what is under way: as an earlier call began it, with what is found since."""
    before = forgotten.of(name) or {}
    plan = before.get(
        "plan", {"runs": [], "logged": [], "compared": False, "baseline": None, "doubts": 0}
    )
    known = {run["folder"] for run in plan["runs"]}
    runs = [run.model_dump(mode="json") for run in found.runs if run.folder not in known]
    ids = {one["run"] for one in plan["logged"]}
    return {
        "patient": forgotten.digest(name),
        "since": before.get("since") or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": RUNNING,
        "plan": {
            "runs": [*plan["runs"], *runs],
            "logged": [*plan["logged"], *(asdict(o) for o in found.logged if o.run not in ids)],
            "compared": plan["compared"] or comparison_path(job).is_file(),
            "doubts": plan["doubts"] or listed_doubts(job.output),
            "baseline": plan["baseline"] or baseline_of(comparison_path(job)),
        },
        "told": before.get("told", []) if before.get("status") == RUNNING else [],
        "earlier": before.get("earlier", []) + ([before] if before.get("status") == DONE else []),
    }


def nameless(run: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a run as the record has it: an error's sentence may name images.

    Examples
    --------
    >>> nameless({"why": "without the patient: 2 are missing (P-1.png)", "code": "not_prepared"})
    {'why': 'without the patient: not_prepared'}
    """
    if "code" not in run:
        return run
    rest = {name: value for name, value in run.items() if name != "code"}
    return rest | {"why": f"without the patient: {run['code']}"}


def ended(entry: dict[str, Any], done: Done) -> dict[str, Any]:
    """Return the entry of what is done; it names nobody, and so no image either."""
    counts: dict[str, int] = {}
    for held in done.left:
        kind = held.what.split(",")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return {
        "patient": entry["patient"],
        "since": entry["since"],
        "until": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": DONE,
        "runs": [nameless(run) for run in done.runs],
        "deleted": done.store.deleted,
        "serving": [asdict(one) for one in done.store.serving],
        "registered": done.store.registered,
        "left": counts,
        "earlier": entry["earlier"],
    }


def already(job: Job, entry: dict[str, Any], *, left: bool = False) -> InputError:
    """Make the error for a patient who was forgotten before."""
    serving = [v for one in entry["serving"] for v in one["versions"]]
    still = ", ".join(f"models:/{v['name']}/{v['version']}" for v in serving)
    remedy = "There is nothing left to do in this job"
    if still:
        remedy = "Promote a version made since (`offsite model promote`), then give this again"
    elif left:
        remedy = "`offsite patient find` lists what is left to you"
    return InputError(
        f"this patient was forgotten on {entry['until'][:10]}"
        + (f"; {still} still serves" if still else ""),
        file=job.file,
        remedy=remedy,
        code="forgotten_already",
    )
