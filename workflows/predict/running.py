"""From the words of the command line to a run: device, model, predictor, inputs."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from offsite.children.child import ready_for_children
from offsite.children.limits import Limits
from offsite.children.pool import Children
from offsite.errors import InputError
from offsite.evaluation.tracking.address import login_apart
from offsite.preprocessing.formats.kinds import dicom_series
from offsite.training.prediction.contents import content_of
from offsite.training.prediction.contract import FileChoice, PackageUnfit, Predictor, Rejected
from offsite.workflows.jobs.modalities import modality_reading
from offsite.workflows.package.folder import Package, load_package
from offsite.workflows.package.signing import check_signature
from offsite.workflows.package.verification import ModelRefused, refused
from offsite.workflows.predict.batch import (
    BatchOptions,
    Outcome,
    check_output,
    run_batch,
    settings_of,
)
from offsite.workflows.predict.inputs.listing import Inputs, find_inputs, part_of, with_siblings
from offsite.workflows.predict.output.case_files import CaseFiles
from offsite.workflows.predict.passage import check_file

_HEADER = Limits(case_seconds=20, case_gib=1)
"""What reading a header may take, which tells what belongs together."""
TRACKING_URI = "MLFLOW_TRACKING_URI"
REGISTERED = "models:/"


def device_named(name: str) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:<i>`` or ``mps``.

    Raises
    ------
    InputError
        There is no such device here: nothing falls back silently to a slower one.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    present = {
        "cpu": not index,
        "cuda": torch.cuda.is_available()
        and (not index or (index.isdigit() and int(index) < torch.cuda.device_count())),
        "mps": torch.backends.mps.is_available() and not index,
    }
    if not present.get(kind, False):
        raise InputError(
            f"there is no device '{name}' here",
            remedy="Use --device auto, or see `offsite doctor`",
            code="no_device",
        )
    return name


@contextmanager
def opened_model(
    model: str, tracking_uri: str | None, keys: Sequence[Path] | None = None
) -> Iterator[Package]:
    """Yield a verified package, from a folder or, by ``models:/...``, from the registry.

    Parameters
    ----------
    model, tracking_uri
        Folder, or address and store.
    keys : sequence of paths, optional
        Given, it must be signed: by one of these public keys or, where there is none, by one that
        the user trusts.

    Raises
    ------
    ModelRefused
        It is not exactly what was made, what was registered, or what a trusted key signed.
    """
    if not model.startswith(REGISTERED):
        package = load_package(model)
        if keys is not None:
            check_signature(package.path, keys)
        yield package
        return
    from offsite.evaluation.tracking.registry import fetch_package, find_version
    from offsite.evaluation.tracking.store import client_of

    uri = tracking_store(tracking_uri)
    # An alias may move at any moment: it is asked once, and what is used is what it named then.
    version = find_version(client_of(uri, create=False), model)
    address = f"{REGISTERED}{version.name}/{version.version}"
    with TemporaryDirectory(prefix="offsite-model-") as folder:
        try:
            fetched = fetch_package(uri, address, Path(folder) / "package")
        except InputError as error:
            if error.code == "package_changed":
                raise ModelRefused(
                    error.problem, remedy=error.remedy, file=error.file, code=error.code
                ) from error
            raise
        package = load_package(fetched)
        if keys is not None:
            check_signature(package.path, keys)
        record = package.record.model_copy(update={"version": str(version.version)})
        yield replace(package, record=record)


def tracking_store(named: str | None) -> str:
    """Return the store named on the command line, or else in the environment, without a login.

    Raises
    ------
    InputError
        Neither names one.
    """
    uri = named or os.environ.get(TRACKING_URI)
    if not uri:
        raise InputError(
            "a registered model needs its tracking store",
            remedy=f"Give --tracking-uri sqlite:///path/mlflow.db, or set {TRACKING_URI}",
        )
    return login_apart(uri)


def predictor_for(package: Package, device: str, batch_size: int | None = None) -> Predictor:
    """Return the predictor of the modality that the package is for.

    Raises
    ------
    ModelRefused
        The weights or settings are not of a network that this version of offsite builds.
    """
    try:
        return modality_reading(package.record.task).predictor(package, device, batch_size)
    except PackageUnfit as error:
        raise refused(package.path, error.problem, error.remedy, error.code) from error
    except (InputError, ValidationError, KeyError, ValueError) as error:
        problem = error.problem if isinstance(error, InputError) else str(error).splitlines()[0]
        raise refused(
            package.path,
            f"this version of offsite cannot build it ({problem})",
            "Use the version of offsite that the card names, or package the run again",
            "package_unknown",
        ) from error


def choice_for(package: Package, features: Path | None) -> FileChoice | None:
    """Return which files a package's model reads, where these are not images.

    Raises
    ------
    InputError
        A folder of features is named for a model that reads images, or is not there.
    """
    choose = modality_reading(package.record.task).file_choice
    choice = choose(package) if choose else None
    if features is not None and choice is None:
        raise InputError(
            "this model reads images, and no features that another tool made",
            remedy="Name the images, and leave --features out",
            code="reads_images",
        )
    if features is not None and not features.is_dir():
        raise InputError(
            "there is no such folder of features",
            file=features,
            remedy="Name the folder of the feature files",
            code="no_features",
        )
    return choice


def inputs_for(
    package: Package,
    names: Sequence[Path],
    site: str,
    output: Path,
    features: Path | None = None,
) -> Inputs:
    """List the inputs; of a DICOM slide the files of its series are one input.

    Where the model answers for patients, each slide comes with the patient's others. ``features`` is
    the folder of the files whose cases a table names.

    Raises
    ------
    InputError
        There is none.
    """
    record = package.record
    of_patients = record.preprocessing.get("pooling", "slide") != "slide"
    choice = choice_for(package, features)
    if choice is not None:
        inputs = find_inputs(names, site=site, leave_out=output, choice=choice, features=features)
    elif modality_reading(record.task).joins_series:
        with Children(1, _HEADER) as children:  # a DICOM header can keep its reader for ever
            group = partial(dicom_series, place=children)
            inputs = find_inputs(names, site=site, leave_out=output, group=group)
    else:
        inputs = find_inputs(names, site=site, leave_out=output)
    if not inputs.items:
        raise InputError(
            "there is nothing to predict",
            remedy="Name images, folders with images, or a cohort table"
            if choice is None
            else "Name feature files, folders with them, or a table and --features",
            code="no_inputs",
        )
    return with_siblings(inputs) if of_patients else inputs


def predict(
    names: Sequence[Path],
    model: str,
    options: BatchOptions,
    *,
    site: str = "",
    tracking_uri: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    keys: Sequence[Path] | None = None,
    features: Path | None = None,
) -> Outcome:
    """Run one batch; what `offsite predict` does."""
    check_output(options.output)
    with opened_model(model, tracking_uri, keys) as package:
        if not modality_reading(package.record.task).joins_series:
            ready_for_children()  # they load libraries while this process loads its own
        inputs = inputs_for(package, names, site, options.output, features)
        torch_device = device_named(device)
        predictor = predictor_for(package, torch_device, batch_size)
        return run_batch(package, predictor, inputs, options, torch_device)


def plan(
    names: Sequence[Path],
    model: str,
    options: BatchOptions,
    *,
    site: str = "",
    tracking_uri: str | None = None,
    device: str = "auto",
    keys: Sequence[Path] | None = None,
    features: Path | None = None,
) -> dict[str, int]:
    """Count what a run would do, and write nothing."""
    check_output(options.output)
    with opened_model(model, tracking_uri, keys) as package:
        inputs = inputs_for(package, names, site, options.output, features)
        items = part_of(inputs.items, options.part) if options.part else inputs.items
        predictor = predictor_for(package, device_named(device))
        settings = settings_of(package, predictor)
        files = CaseFiles(
            options.output, settings, options.limits, retry_failed=options.retry_failed
        )
        counts = {"inputs": len(items), "done already": 0, "to do": 0, "unreadable": 0}
        for item in items:
            try:
                check_file(item)
                done = files.current(item, files.key(item, content_of(item)))
                counts["done already" if done else "to do"] += 1
            except (Rejected, OSError):
                counts["unreadable"] += 1
    return {**counts, "named twice": inputs.repeated, "left out": inputs.ignored}
