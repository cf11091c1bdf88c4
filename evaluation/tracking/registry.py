"""Model packages in the MLflow registry: versions, aliases, and the way back to a folder.

A package is a plain folder. The registry keeps it whole, beside a small ``MLmodel`` file that
lets ``mlflow models serve`` answer with the installed offsite: no pickle, no code in the registry.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from offsite.errors import InputError
from offsite.evaluation.tracking.keys import check_model_name
from offsite.evaluation.tracking.staging import FOLDER, LOADER, stage_model
from offsite.evaluation.tracking.store import client_of
from offsite.files import digest_of, file_digest

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

CANDIDATE = "candidate"
PACKAGE_DIGEST = "offsite.package"
TAG_CHARACTERS = 5000
# What MLflow answers where there is no such model, version or alias.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def register_package(
    uri: str,
    name: str,
    folder: str | Path,
    run_id: str,
    tags: Mapping[str, str] | None = None,
    *,
    alias: str | None = CANDIDATE,
    loader_module: str = LOADER,
    outputs: Mapping[str, str] | None = None,
) -> str:
    """Keep a model package as a new version of a registered model, and return the version.

    The same package is registered once: a second call finds the version again and only renews
    its tags and alias.

    Parameters
    ----------
    uri : str
        Tracking store, see :func:`offsite.evaluation.tracking.store.initialise`.
    name : str
        Name of the registered model.
    folder : path
        The package: ``model.json`` and what stands beside it.
    run_id : str
        MLflow run that made the model; the files become its artifact ``model-<digest>``.
    tags : mapping of str to str, optional
        Tags of the version.
    alias : str or None
        Alias to set on the version.
    loader_module : str
        Installed module whose ``_load_pyfunc(path)`` serves the package.
    outputs : mapping of str to str, optional
        Columns that serving answers with and their MLflow types, for the signature.

    Raises
    ------
    InputError
        The folder is not a model package, or the name cannot be kept.
    """
    check_model_name(name)
    source = Path(folder)
    if not (source / "model.json").is_file():
        raise InputError(
            "not a model package: there is no model.json",
            file=source,
            remedy="Give the folder that the export of a run made",
        )
    client = client_of(uri)
    digest = package_digest(source)
    version = _known_version(client, name, digest)
    if version is None:
        _registered(client, name)
        artifact = f"model-{digest[:12]}"
        with tempfile.TemporaryDirectory(prefix="offsite-model-") as temporary:
            staged = Path(temporary) / "model"
            stage_model(source, staged, loader_module, outputs or {})
            client.log_artifacts(run_id, str(staged), artifact)
        location = f"{client.get_run(run_id).info.artifact_uri}/{artifact}"
        # Without the run's model by name: a server takes one only as the place that the files lie in.
        made = client.create_model_version(
            name, location, run_id, tags={PACKAGE_DIGEST: digest}, await_creation_for=60
        )
        version = str(made.version)
        # Numbers are given in the order of arrival: of versions made at one moment the first stays.
        first = _known_version(client, name, digest)
        if first is not None and first != version:
            client.delete_model_version(name, version)
            version = first
    for key, value in (tags or {}).items():
        client.set_model_version_tag(name, version, key, str(value)[:TAG_CHARACTERS])
    if alias:
        client.set_registered_model_alias(name, alias, version)
    return version


def fetch_package(uri: str, model: str, destination: str | Path) -> Path:
    """Copy a registered package to ``destination``, checked against its digest.

    Parameters
    ----------
    uri : str
        Tracking store.
    model : str
        ``models:/name@alias`` or ``models:/name/version``.
    destination : path
        Folder to make; it appears whole or not at all, and one that is there already with the
        same content is left alone.

    Raises
    ------
    InputError
        There is no such version, or the files are not those that were registered.
    """
    client = client_of(uri, create=False)
    version = find_version(client, model)
    target = Path(destination)
    digest = version.tags.get(PACKAGE_DIGEST)
    if target.is_dir() and package_digest(target) == digest:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as temporary:
        fetched = _download(client, version, Path(temporary))
        if package_digest(fetched) != digest:
            raise InputError(
                f"the files of {version.name} version {version.version} are not those registered",
                remedy="Register the package again from its folder, and ask who changed the store",
                file=str(version.source),
                code="package_changed",
            )
        _make_room(client, version.name, target)
        fetched.rename(target)
    return target


def is_registered(
    uri: str, folder: str | Path, *, name: str | None = None, version: str | None = None
) -> bool:
    """Say whether a package is, byte for byte, one that was registered.

    Parameters
    ----------
    uri : str
        Tracking store.
    folder : path
        The package.
    name, version : str, optional
        The version that it must be; by default any will do.

    Raises
    ------
    InputError
        There is no such version, or the registry cannot be asked.
    """
    client, digest = client_of(uri, create=False), package_digest(Path(folder))
    if name is not None and version is not None:
        return find_version(client, f"{name}/{version}").tags.get(PACKAGE_DIGEST) == digest
    return bool(client.search_model_versions(f"tags.`{PACKAGE_DIGEST}` = '{digest}'"))


def _make_room(client: "MlflowClient", name: str, target: Path) -> None:
    """Remove another version of the model, as it was fetched; whatever else is there stays."""
    if not target.exists():
        return
    if not target.is_dir() or _known_version(client, name, package_digest(target)) is None:
        raise InputError(
            "the folder for the model is in use by something else",
            remedy="Name a folder that does not exist yet",
            file=target,
            code="folder_in_use",
        )
    shutil.rmtree(target)


def find_version(client: "MlflowClient", model: str) -> "ModelVersion":
    """The version that ``models:/name@alias`` or ``models:/name/version`` stands for.

    Raises
    ------
    InputError
        There is none (``no_such_model``), or the registry cannot be asked (``registry_error``).
    """
    from mlflow.exceptions import MlflowException

    address = model.removeprefix("models:/")
    try:
        if "@" in address:
            name, alias = address.rsplit("@", 1)
            return client.get_model_version_by_alias(name, alias)
        name, number = address.rsplit("/", 1)
        return client.get_model_version(name, number)
    except (MlflowException, ValueError) as error:
        if isinstance(error, MlflowException) and error.error_code not in ABSENT:
            raise unanswered(error) from error
        raise InputError(
            f"no registered model '{model}'",
            remedy="Write models:/name@champion, models:/name@candidate or models:/name/version",
            code="no_such_model",
        ) from error


def unanswered(error: "MlflowException") -> InputError:
    """The error for a registry that gives no answer: what it holds is then unknown, not absent."""
    return InputError(
        f"the registry gives no answer ({error.error_code})",
        remedy="Try again once the tracking server or its database is back",
        code="registry_error",
    )


def package_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of every file of a package."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of([[path.relative_to(folder).as_posix(), file_digest(path)] for path in files])


def _known_version(client: "MlflowClient", name: str, digest: str) -> str | None:
    escaped = name.replace("'", "")
    versions = client.search_model_versions(f"name = '{escaped}'")
    same = [int(one.version) for one in versions if one.tags.get(PACKAGE_DIGEST) == digest]
    return str(min(same)) if same else None


def _registered(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _download(client: "MlflowClient", version: "ModelVersion", temporary: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    source = client.get_model_version_download_uri(version.name, version.version)
    got = download_artifacts(
        artifact_uri=f"{source}/{FOLDER}",
        dst_path=str(temporary),
        tracking_uri=client.tracking_uri,
    )
    # A local store answers with its own files: they stay where they are.
    copy = temporary / "copy"
    shutil.copytree(got, copy)
    return copy
