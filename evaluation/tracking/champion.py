"""The champion of a registered model: which version it is, and how another becomes it."""

from typing import TYPE_CHECKING

from offsite.evaluation.tracking.registry import ABSENT, TAG_CHARACTERS, find_version, unanswered
from offsite.evaluation.tracking.store import client_of

if TYPE_CHECKING:
    from offsite.evaluation.gate.verdict import GateVerdict

CHAMPION = "champion"


def champion_of(uri: str, name: str) -> str | None:
    """The version that ``@champion`` stands for, or ``None`` where there is no such alias.

    Raises
    ------
    InputError
        The registry cannot be asked: whether there is a champion is then unknown.
    """
    from mlflow.exceptions import MlflowException

    try:
        return str(client_of(uri, create=False).get_model_version_by_alias(name, CHAMPION).version)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise unanswered(error) from error


def promote(uri: str, name: str, version: str, verdict: "GateVerdict") -> bool:
    """Keep the gate's verdict with a version, and move ``@champion`` to it where allowed.

    Parameters
    ----------
    uri, name, version : str
        Tracking store, registered model and its version.
    verdict : offsite.evaluation.gate.verdict.GateVerdict
        What the gate says; every rule's sentence is kept as a tag, whatever the outcome.

    Returns
    -------
    bool
        Whether the verdict allows the version to be the champion.
    """
    client = client_of(uri, create=False)
    find_version(client, f"models:/{name}/{version}")
    previous = champion_of(uri, name)
    tags = verdict.tags()
    if verdict.allowed and previous not in (None, version):
        tags["gate.previous_champion"] = str(previous)
    known = client.get_model_version(name, version).tags
    for key in known:
        # A verdict replaces the one before it whole: no sentence of an older one stays.
        if key.startswith("gate.") and key not in tags and key != "gate.previous_champion":
            client.delete_model_version_tag(name, version, key)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value[:TAG_CHARACTERS])
    if verdict.allowed:
        client.set_registered_model_alias(name, CHAMPION, version)
    return verdict.allowed
