"""Where on MLflow's page a run is found: the page opens elsewhere by itself."""

from offsite.evaluation.tracking.store import client_of

LOCAL = "http://127.0.0.1:5000"
_TRAINING = "workflowType=machine_learning"  # without it the page shows traces first


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
    client = client_of(uri, create=False)
    known = client.get_experiment_by_name(experiment)
    number = "0" if known is None else known.experiment_id
    base = uri.rstrip("/") if uri.startswith("http") else LOCAL
    run = f"/{run_id}" if run_id else ""
    return f"{base}/#/experiments/{number}/runs{run}?{_TRAINING}"


def how_to_look(uri: str, experiment: str, run_id: str | None = None) -> str:
    """A sentence that says where the runs are seen, with the command where there is no server."""
    page = page_of(uri, experiment, run_id)
    if uri.startswith("http"):
        return f"see {page}"
    return f"see {page} while this runs: mlflow ui --backend-store-uri {uri}"
