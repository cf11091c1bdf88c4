"""The tracking store: a database that many processes may open at once, and a quiet client."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from offsite.errors import InputError
from offsite.evaluation.tracking.address import (
    PASSWORD,
    SQLITE,
    USER,
    is_server,
    login_apart,
    to_show,
    without_login,
)
from offsite.files import replacing
from offsite.locks import alone, has_locks

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_DAMAGED = ("disk image is malformed", "file is not a database")  # as SQLite says it


def initialise(uri: str) -> str:
    """Make a tracking store ready; call it before anything runs in parallel (or from everything).

    A fresh SQLite database is migrated once, under a lock and a temporary name: processes that
    start together wait for the first, and a killed one leaves nothing half made.

    Parameters
    ----------
    uri : str
        ``sqlite:///path/mlflow.db`` (relative to the working folder, or absolute with four
        slashes) or the address of an MLflow server.

    Returns
    -------
    str
        The URI with an absolute path.

    Raises
    ------
    InputError
        The URI is of another kind, or the database is of another MLflow version.
    """
    check_address(uri)
    if is_server(uri):
        return login_apart(uri)
    database = database_path(uri)
    with locked(database):
        if not database.exists() or database.stat().st_size == 0:
            _quiet_mlflow()
            from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

            with replacing(database) as temporary:
                engine = create_sqlalchemy_engine(f"{SQLITE}{temporary}")
                _initialize_tables(engine)
                engine.dispose()
    return f"{SQLITE}{database}"


def client_of(uri: str, *, create: bool = True) -> "MlflowClient":
    """An MLflow client on an initialised store, with telemetry and printing off.

    A server's user and password come from MLflow's own environment variables, where those that stand
    in its address are put.

    Parameters
    ----------
    uri : str
        See `initialise`.
    create : bool
        Whether a SQLite store that is not there is made; whoever only reads has mistyped it.

    Raises
    ------
    InputError
        The URI is of another kind, there is no such store (code ``no_store``), the database is
        damaged or of another MLflow version, or the server refuses or does not answer.
    """
    uri = login_apart(uri)
    if not create and not store_exists(uri):
        raise InputError(
            "there is no such tracking store",
            file=uri,
            remedy="Check its path: `offsite workflow track` makes one, commands that read do not",
            code="no_store",
        )
    ready = initialise(uri)
    _quiet_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=ready, registry_uri=ready)
        client.search_experiments(max_results=1)
    except Exception as error:
        if any(text in str(error) for text in _DAMAGED):
            raise InputError(
                "the tracking database is damaged",
                remedy="Move it away and log again (offsite workflow track, then offsite model register): runs are files",
                file=ready,
                code="tracking_damaged",
            ) from error
        if not isinstance(error, MlflowException):
            raise
        if is_server(uri):
            raise _refused(uri, error) from error
        if "schema" in str(error).lower():
            raise InputError(
                "the tracking database was made by another version of MLflow",
                remedy=f"Run: mlflow db upgrade {ready} (after a copy of the file)",
                file=ready,
                code="tracking_schema",
            ) from error
        raise
    return client


def _refused(uri: str, error: Exception) -> InputError:
    """Why a server does not answer, in a sentence; what it said may hold a whole page."""
    code = str(getattr(error, "get_http_status_code", lambda: "")())
    if code in ("401", "403") or "UNAUTHENTICATED" in str(error) or "401" in str(error):
        return InputError(
            "the tracking server refused the user or the password",
            file=uri,
            remedy=f"Set {USER} and {PASSWORD}, or ask its keeper",
            code="tracking_login",
        )
    return InputError(
        "the tracking server does not answer as one",
        file=uri,
        remedy="Check the address and that the server runs; results are kept in files till then",
        code="tracking_server",
    )


def check_address(uri: str) -> None:
    """Refuse an address that is no tracking store's; whether it answers is not asked.

    Raises
    ------
    InputError
        Code ``tracking_uri``: of another kind, or with options.

    Examples
    --------
    >>> check_address("sqlite:///results/mlflow.db")
    """
    if is_server(uri) and "?" in without_login(uri):
        raise InputError(
            f"'{to_show(uri)}' has options after a '?'",
            remedy="Give the server's address alone: https://server",
            code="tracking_uri",
        )
    if not is_server(uri):
        database_path(uri)


def store_exists(uri: str) -> bool:
    """Whether there is a store; of a server it is not known before it is asked."""
    return is_server(uri) or database_path(uri).is_file()


def database_path(uri: str) -> Path:
    """The file of a SQLite URI, absolute.

    Raises
    ------
    InputError
        The URI is not a SQLite one, or has options (``?timeout=30``), which would be taken for a
        part of the file's name by some and not by others.
    """
    if uri.startswith(SQLITE) and "?" in uri:
        raise InputError(
            f"'{uri}' has options after a '?'",
            remedy="Give the path of the database alone: sqlite:///path/mlflow.db",
            code="tracking_uri",
        )
    if not uri.startswith(SQLITE) or uri == SQLITE:
        raise InputError(
            f"'{to_show(uri)}' is not a tracking store that offsite uses",
            remedy="Give sqlite:///path/mlflow.db, or the http address of an MLflow server",
            code="tracking_uri",
        )
    return Path(uri.removeprefix(SQLITE)).absolute()


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock file beside a SQLite database; other processes wait."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with alone(database.with_name(f"{database.name}.lock"), wait=True):
        if not has_locks(database.parent):
            raise InputError(
                "the tracking store lies on a file system without locks, and SQLite needs them",
                remedy="Give --tracking-uri sqlite:///... on a local disk, or an MLflow server",
                file=database,
                code="no_locks",
            )
        yield


def _quiet_mlflow() -> None:
    # The environment is read while MLflow is imported; its loggers are set up by the import.
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="true",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    )
    # A server that is down is told within seconds, not after MLflow's four minutes of patience.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import mlflow.tracking  # noqa: F401

    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
