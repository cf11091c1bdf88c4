"""What MLflow keeps of training runs that must go: their runs, and the versions made of them.

A version whose alias is another than ``@candidate`` may be serving. It is not switched off here: it
stays, with its run, until its alias has moved to a version made since; everything else is deleted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offsite.evaluation.tracking.address import is_server, to_show
from offsite.evaluation.tracking.data_parts import model_of
from offsite.evaluation.tracking.methods import ABOVE, tell_method
from offsite.evaluation.tracking.registry import CANDIDATE, find_version
from offsite.evaluation.tracking.runs import JOB_KEY
from offsite.evaluation.tracking.store import client_of, store_exists

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

WITHDRAWN = "offsite.withdrawn"
PAGE = 1000
"""What is asked for at a time."""
_SENTENCE = "made with the images of a patient who withdrew consent: replace this version"


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes
    ----------
    name, version : str
    aliases : tuple of str
        What stands for it now.
    """

    name: str
    version: str
    aliases: tuple[str, ...]

    @property
    def address(self) -> str:
        """As `offsite predict --model` takes it."""
        return f"models:/{self.name}/{self.version}"

    @property
    def serves(self) -> bool:
        """Whether an alias but ``@candidate`` stands for it."""
        return bool(set(self.aliases) - {CANDIDATE})


@dataclass(frozen=True)
class Logged:
    """An MLflow run of a training run.

    Attributes
    ----------
    run : str
        MLflow's identifier.
    key : str
        The job key, that of ``run.json``.
    versions : tuple of Version
        The registered versions whose files it keeps.
    """

    run: str
    key: str
    versions: tuple[Version, ...]


def logged_under(uri: str, keys: Iterable[str]) -> list[Logged]:
    """Return the runs that are logged under the job keys of training runs; none without a store.

    Raises
    ------
    InputError
        The store cannot be asked.
    """
    if not store_exists(uri):
        return []
    client = client_of(uri, create=False)
    experiments = [each.experiment_id for each in _every(client.search_experiments)]
    found = []
    for key in dict.fromkeys(keys):
        wanted = f"tags.`{JOB_KEY}` = '{key}'"
        for run in _every(client.search_runs, experiments, wanted):
            identifier = str(run.info.run_id)
            found.append(Logged(identifier, key, _versions_of(client, identifier)))
    return found


def _every(search: Callable[..., Any], *wanted: Any) -> Iterator[Any]:
    """All that a search finds, page by page: on a shared server there may be many."""
    token = None
    while True:
        page = search(*wanted, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def withdraw(uri: str, logged: Sequence[Logged]) -> list[Logged]:
    """Delete runs and versions; return those that stay because a version of theirs may be serving.

    Deleted runs are out of sight; their rows and files go with ``mlflow gc`` (`gc_command`).
    """
    if not logged:
        return []
    client, staying = client_of(uri, create=False), []
    for one in logged:
        kept = [version for version in one.versions if version.serves]
        for version in one.versions:
            if version.serves:
                client.set_model_version_tag(version.name, version.version, WITHDRAWN, _SENTENCE)
                continue
            for alias in version.aliases:
                client.delete_registered_model_alias(version.name, alias)
            client.delete_model_version(version.name, version.version)
        if kept:
            staying.append(Logged(one.run, one.key, tuple(kept)))
        else:
            _delete(client, uri, one.run)
    return staying


def _delete(client: "MlflowClient", uri: str, run: str) -> None:
    """Delete a run with the model that it lists; the run above it tells of it no more."""
    whole = client.get_run(run)
    if (model := model_of(whole)) is not None:
        client.delete_logged_model(model)
    client.delete_run(run)
    if (above := whole.data.tags.get(ABOVE)) is not None:
        tell_method(uri, above)


def gc_command(uri: str, runs: Sequence[str]) -> str:
    """Return the administrator's command that removes deleted runs and their files for good.

    Examples
    --------
    >>> gc_command("http://mlflow:5000", ["a1", "b2"])
    'mlflow gc --backend-store-uri DATABASE --tracking-uri http://mlflow:5000 --run-ids a1,b2'
    """
    # Of a server only its keeper knows the database.
    address, words = to_show(uri), ",".join(runs)
    database = "DATABASE" if is_server(uri) else address
    return f"mlflow gc --backend-store-uri {database} --tracking-uri {address} --run-ids {words}"


def _versions_of(client: "MlflowClient", run: str) -> tuple[Version, ...]:
    known = client.search_model_versions(f"run_id = '{run}'")
    versions = []
    for each in sorted(known, key=lambda version: (version.name, int(version.version))):
        # A search does not tell the aliases.
        whole = find_version(client, f"models:/{each.name}/{each.version}")
        versions.append(Version(each.name, str(each.version), tuple(sorted(whole.aliases))))
    return tuple(versions)
