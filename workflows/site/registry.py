"""A package that was set for a site, in the registry: a version beside the one it was made from."""

from pathlib import Path

from offsite.errors import InputError
from offsite.evaluation.gate.verdict import GateVerdict, RuleVerdict
from offsite.evaluation.tracking.champion import promote
from offsite.evaluation.tracking.kept_predictions import hand_on_predictions
from offsite.evaluation.tracking.registry import find_version, register_package
from offsite.evaluation.tracking.store import client_of
from offsite.workflows.package.folder import load_record
from offsite.workflows.serving import served_types

# Versions of before have these tags.
SITE, FROM = "offsite.onboarded", "offsite.onboarded_from"


def register_site_version(uri: str, model: str, used: str, made: Path, site: str) -> str:
    """Register the package as a version without an alias, and return its address.

    ``@candidate`` stays with whatever waits for the gate. The version has the weights of the one
    it was made from, and so its test predictions.

    Parameters
    ----------
    uri, model : str
        Tracking store, and the address of the model that was set for the site.
    used : str
        Its version; an alias may have moved since.
    made : Path
        The package with the profile of the site.
    site : str
        The site.
    """
    client = client_of(uri, create=False)
    name = find_version(client, model).name
    known = find_version(client, f"models:/{name}/{used}")
    version = register_package(
        uri,
        name,
        made,
        str(known.run_id),
        {SITE: site, FROM: used},
        alias=None,
        outputs=served_types(load_record(made)[0].classes),
    )
    hand_on_predictions(uri, name, used, version)
    return f"models:/{name}/{version}"


def promote_site_version(uri: str, model: str, why: str) -> str:
    """Make a version that was set for a site the champion for a written reason; return its address.

    Raises
    ------
    InputError
        The version was not set for a site (the gate decides on it), or the reason is no sentence.
    """
    client = client_of(uri, create=False)
    version = find_version(client, model)
    address = f"models:/{version.name}/{version.version}"
    if SITE not in version.tags:
        raise InputError(
            f"{address} was not made by `offsite site calibrate`: the gate decides on it",
            remedy="Use `offsite model register RUN --gate RULES`, with --override where it must be",
            code="not_onboarded",
        )
    origin = version.tags[FROM]
    judged = find_version(client, f"models:/{version.name}/{origin}").tags.get("gate.verdict")
    said = (
        f"not judged: the weights of version {origin} (gate: {judged or 'not judged'}), set for"
        f" {version.tags[SITE]} with local cases"
    )
    rule = RuleVerdict(rule="onboarded", passed=False, sentence=said, sites=(version.tags[SITE],))
    verdict = GateVerdict(rules=(rule,), settings_digest="none").overridden(why)
    promote(uri, version.name, str(version.version), verdict)
    return address
