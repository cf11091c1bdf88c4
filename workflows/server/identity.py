"""Whether the package that a server loads is the one that was registered."""

import os
from pathlib import Path

import yaml

from offsite.errors import InputError
from offsite.evaluation.tracking.registry import is_registered
from offsite.workflows.package.verification import ModelRefused, verify_package

DIGEST = "OFFSITE_SERVE_SHA256"
_META = "registered_model_meta"  # MLflow writes it beside a version that it loads by its address


def check_identity(folder: str | Path) -> None:
    """Refuse a package that nobody registered, however well its own sums fit it.

    The sums of a package show change and not origin: whoever can rewrite a package in an artifact
    store can rewrite its sums. The digest that counts is kept elsewhere: in the tracking store
    that MLflow asks, or in ``OFFSITE_SERVE_SHA256`` where there is none (a container).

    Parameters
    ----------
    folder : path
        The package, as MLflow fetched it.

    Raises
    ------
    ModelRefused
        Its digest is another (``package_changed``), or there is nothing to compare it with
        (``unverified``).
    """
    package = Path(folder)
    pinned = os.environ.get(DIGEST, "").strip().lower()
    if pinned:
        same = verify_package(package) == pinned
    else:
        same = is_registered(_store(package), package, **_version_of(package))
    if not same:
        raise ModelRefused(
            "the package is not the one that was registered",
            remedy="Register the package again from its folder, and ask who changed the store",
            file=package,
            code="package_changed",
        )


def _store(package: Path) -> str:
    import mlflow

    if not mlflow.is_tracking_uri_set():
        raise ModelRefused(
            "there is no registered digest to compare the package with",
            remedy="Set MLFLOW_TRACKING_URI to the store of the registry, or"
            f" {DIGEST} to the digest that `offsite model verify` prints",
            file=package,
            code="unverified",
        )
    return str(mlflow.get_registry_uri())


def _version_of(package: Path) -> dict[str, str]:
    """The name and version that MLflow was asked for, where it was asked for a version."""
    meta = package.parent / _META
    if not meta.is_file():
        return {}
    try:
        content = yaml.safe_load(meta.read_text(encoding="utf-8"))
        return {"name": str(content["model_name"]), "version": str(content["model_version"])}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError("cannot be read", file=meta, remedy="Load the version again") from error
