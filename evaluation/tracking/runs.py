"""One MLflow run for a job key, however many processes ask for it at once; and where it is seen."""

import contextlib
from typing import TYPE_CHECKING

from offsite.errors import InputError
from offsite.evaluation.tracking.address import is_server, to_show
from offsite.evaluation.tracking.store import client_of, database_path, locked

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

JOB_KEY = "offsite.job_key"
CLAIM = "offsite.claim"
KEPT, GIVEN_UP = "kept", "given up"
_TURNS = 100
# Without it MLflow's page opens an experiment at its traces, of which there are none.
_TRAINING_RUNS = "workflowType=machine_learning"  # of an address, for the same reason
LOCAL = "http://127.0.0.1:5000"
_KIND, _TRAINING = "mlflow.experimentKind", "custom_model_development"


def run_of(
    client: "MlflowClient",
    uri: str,
    experiment: str,
    name: str,
    job_key: str,
    parent: str | None = None,
    start: int | None = None,
) -> "Run":
    """Return the run of a job key; make it where there is none.

    A SQLite store is locked meanwhile. A server has no lock of ours, so that processes may each
    make a run: all of them then agree on one, see :func:`agreed`.
    """
    guard = contextlib.nullcontext() if is_server(uri) else locked(database_path(uri))
    with guard:
        experiment_id = _experiment(client, uri, experiment)
        return agreed(client, experiment_id, name, job_key.replace("'", ""), parent, start)


def agreed(
    client: "MlflowClient",
    experiment_id: str,
    name: str,
    key: str,
    parent: str | None = None,
    start: int | None = None,
) -> "Run":
    """Return the one run of a key in an experiment, and delete the others.

    One that is made is shown under ``parent`` and as begun at ``start`` (ms since 1970).

    Whose run came first cannot be told from the runs: their times are those of the processes. But
    MLflow lets a parameter be written once, by its table's primary key, so the first to write
    whether a run is kept or given up decides it for all. A run is kept only after every other one
    that is seen has been given up; one that is made later finds the kept one. Should a process die
    between the two, whoever comes next ends what it began.
    """
    for _ in range(_TURNS):
        runs = client.search_runs([experiment_id], f"tags.`{JOB_KEY}` = '{key}'", max_results=1000)
        standing = [run for run in runs if run.data.params.get(CLAIM) != GIVEN_UP]
        if not standing:
            tags = {JOB_KEY: key} | ({"mlflow.parentRunId": parent} if parent else {})
            client.create_run(experiment_id, start_time=start, tags=tags, run_name=name)
            continue
        first = min(standing, key=_order)
        others = [run for run in standing if run is not first]
        if all(_claim(client, run, GIVEN_UP) for run in others) and _claim(client, first, KEPT):
            _delete(client, [run for run in runs if run is not first])
            return first
    raise InputError(
        "the tracking server does not settle which run is this job's",
        file=name,
        remedy="Log it again: `offsite workflow track` (results are kept in files till then)",
        code="tracking_server",
    )


def _order(run: "Run") -> tuple[bool, int, str]:
    return run.data.params.get(CLAIM) != KEPT, run.info.start_time, run.info.run_id


def _claim(client: "MlflowClient", run: "Run", claim: str) -> bool:
    """Say whether a run is kept, or given up, as is wanted here; the first to write it decides."""
    from mlflow.exceptions import MlflowException

    if run.data.params.get(CLAIM) == claim:
        return True
    try:
        client.log_param(run.info.run_id, CLAIM, claim)
    except MlflowException as error:
        if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            raise
        return False  # decided otherwise, or deleted meanwhile: look again
    return True


def _delete(client: "MlflowClient", runs: list["Run"]) -> None:
    from mlflow.exceptions import MlflowException

    for run in runs:
        with contextlib.suppress(MlflowException):  # another process was quicker
            client.delete_run(run.info.run_id)


def _experiment(client: "MlflowClient", uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is not None:
        if _KIND not in known.tags:
            with contextlib.suppress(MlflowException):  # another process was quicker
                client.set_experiment_tag(known.experiment_id, _KIND, _TRAINING)
        return str(known.experiment_id)
    location = None if is_server(uri) else database_path(uri).with_name("mlartifacts")
    try:
        place = None if location is None else location.as_uri()
        return str(client.create_experiment(name, place, tags={_KIND: _TRAINING}))
    except MlflowException:
        known = client.get_experiment_by_name(name)  # another process was quicker
        if known is None:
            raise
        return str(known.experiment_id)


def page_of(uri: str, experiment: str, run_id: str | None = None) -> str:
    """The address of an experiment's runs, or of one of them, on a server or `mlflow ui`.

    Parameters
    ----------
    uri : str
        Tracking store; of SQLite the address is that of `mlflow ui` with its usual port.
    experiment : str
        Its name.
    run_id : str, optional
        One run.
    """
    client, uri = client_of(uri, create=False), to_show(uri)
    known = client.get_experiment_by_name(experiment)
    number = "0" if known is None else known.experiment_id
    base = uri.rstrip("/") if is_server(uri) else LOCAL
    run = f"/{run_id}" if run_id else ""
    return f"{base}/#/experiments/{number}/runs{run}?{_TRAINING_RUNS}"


def how_to_look(uri: str, experiment: str, run_id: str | None = None) -> str:
    """A sentence that says where the runs are seen, with the command where there is no server."""
    page = page_of(uri, experiment, run_id)
    if is_server(uri):
        return f"see {page}"
    return f"see {page} while this runs: mlflow ui --backend-store-uri {uri}"
