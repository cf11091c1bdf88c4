"""Write, read and copy a model package.

Nothing in a package is executed or unpickled: JSON, safetensors and arrays are all there is. What
is hashed is what is read.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.files import write_bytes
from offsite.ownership import refuse_link
from offsite.training.prediction.contract import WORDS
from offsite.workflows.package.card import card_text
from offsite.workflows.package.contents import reference_bytes, weights_bytes
from offsite.workflows.package.schema import ModelRecord
from offsite.workflows.package.verification import (
    CARD,
    CONTENT,
    COPY_AGAIN,
    MAX_BYTES,
    RECORD,
    REFERENCE,
    SIGNATURE,
    SUMS,
    WEIGHTS,
    ModelRefused,
    check_listing,
    read_sums,
    refused,
    sums_text,
    verified_bytes,
    verify_package,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Package:
    """A verified model package.

    Attributes
    ----------
    path : Path
        Its folder.
    digest : str
        SHA-256 (hex) over the digests of its files: the identity of the model in every result.
    record : ModelRecord
        The content of ``model.json``.
    weights : dict of str to Tensor
        By name, as the network's ``load_state_dict(strict=True)`` takes them.
    reference : dict of str to numpy.ndarray
        Arrays by namespaced name (``ood/...``, ``calibration/...``, ``conformal/...``).
    """

    path: Path
    digest: str
    record: ModelRecord
    weights: "dict[str, Tensor]"
    reference: dict[str, np.ndarray]

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the reference arrays under ``prefix/``, without the prefix."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.reference.items() if k.startswith(start)}


def write_package(
    path: str | Path,
    record: ModelRecord,
    weights: "Mapping[str, Tensor]",
    reference: Mapping[str, np.ndarray],
) -> Path:
    """Write a package; it appears whole or not at all, and replaces only another package.

    Parameters
    ----------
    path : path
        The folder to make.
    record : ModelRecord
        What ``model.json`` will say.
    weights : mapping of str to Tensor
        The algorithm's ``inference_state()``.
    reference : mapping of str to numpy.ndarray
        Arrays of numbers (or fixed-width text) by namespaced name.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        The folder holds anything that is not of a package, or an array holds objects.
    """
    target = Path(path)
    _check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:60]}.") as staging:
        staged = Path(staging) / "package"
        staged.mkdir()
        text = record.model_dump_json(indent=2)
        write_bytes(staged / RECORD, text.encode() + b"\n")
        write_bytes(staged / WEIGHTS, weights_bytes(weights))
        write_bytes(staged / REFERENCE, reference_bytes(reference))
        write_bytes(staged / CARD, card_text(record).encode())
        sums = {name: hashlib.sha256((staged / name).read_bytes()).hexdigest() for name in CONTENT}
        write_bytes(staged / SUMS, sums_text(sums).encode())
        verify_package(staged)
        if target.exists():
            target.rename(Path(staging) / "old")
        staged.rename(target)
    return target


def _check_target(target: Path) -> None:
    """Refuse to replace what is more, or other, than a package: it would be deleted."""
    refuse_link(target)
    present = {path.name for path in target.iterdir()} if target.is_dir() else set()
    foreign = sorted(present - {*CONTENT, SUMS, SIGNATURE})
    if foreign or (target.exists() and not target.is_dir()) or (present and RECORD not in present):
        named = f" ({', '.join(foreign[:5])})" if foreign else ""
        raise InputError(
            f"the folder holds something that is not a model package{named}",
            file=target,
            remedy="Name a new or empty folder",
            code="folder_in_use",
        )
    if present:
        _check_unchanged(target)


def _check_unchanged(target: Path) -> None:
    """Refuse to replace a package that somebody changed since it was written."""
    try:
        verify_package(target)
    except ModelRefused as error:
        raise InputError(
            f"the package there was changed after it was made ({error.problem})",
            file=target,
            remedy="Move it to another folder; it is not overwritten",
            code="not_ours",
        ) from error


def load_package(path: str | Path) -> Package:
    """Read a package, refusing whatever is not exactly what was written.

    Raises
    ------
    InputError
        There is no package at all: the path is wrong.
    ModelRefused
        A file is missing, changed, too large or foreign, or ``model.json`` does not validate.
    """
    folder = Path(path)
    check_listing(folder)
    expected = read_sums(folder)
    record = _record(folder, verified_bytes(folder, RECORD, expected))
    verified_bytes(folder, CARD, expected)
    weights = _tensors(folder, verified_bytes(folder, WEIGHTS, expected))
    reference = _arrays(folder, verified_bytes(folder, REFERENCE, expected))
    _check_words(folder, record, reference)
    digest = hashlib.sha256(sums_text(expected).encode()).hexdigest()
    return Package(path=folder, digest=digest, record=record, weights=weights, reference=reference)


def load_record(path: str | Path) -> tuple[ModelRecord, str]:
    """Verify a package and read ``model.json`` alone, without torch; also return the digest."""
    digest = verify_package(path)
    folder = Path(path)
    return _record(folder, verified_bytes(folder, RECORD, read_sums(folder))), digest


def export_package(source: str | Path, path: str | Path) -> Path:
    """Copy a verified package to a new folder, for another machine."""
    digest = verify_package(source)
    target = Path(path)
    if os.path.lexists(target):
        raise _there_already(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:60]}.") as staging:
        staged = Path(staging) / "package"
        staged.mkdir()
        for name in (*CONTENT, SUMS, SIGNATURE):
            if name != SIGNATURE or (Path(source) / name).is_file():
                shutil.copyfile(Path(source) / name, staged / name)
        if verify_package(staged) != digest:
            raise refused(staged, "the copy differs", "Try again; look at the disk", "copy_failed")
        _appear(staged, target)
    return target


def _appear(staged: Path, target: Path) -> None:
    """Give a folder its name; of two exports at once the second finds the name taken."""
    try:
        staged.rename(target)
    except OSError as error:
        if not os.path.lexists(target):
            raise
        raise _there_already(target) from error


def _there_already(target: Path) -> InputError:
    return InputError("the folder is there already", file=target, remedy="Name a new folder")


def _record(folder: Path, content: bytes) -> ModelRecord:
    try:
        return ModelRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise refused(
            folder / RECORD,
            f"{where}: {first['msg']}",
            "It was made by another version of offsite: make the package again",
            "package_schema",
        ) from error


def _check_words(folder: Path, record: ModelRecord, reference: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays of other words than ``model.json`` names."""
    places = reference.get(f"{WORDS}/places", np.empty((0, 0)))
    named = 0 if record.words is None else len(record.words.names)
    if places.ndim != 2 or len(places) != named:
        raise refused(
            folder,
            f"{RECORD} names {named} words, and {REFERENCE} tells others",
            "Make the package again from its run",
            "package_words",
        )


def _tensors(folder: Path, content: bytes) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as error:
        raise refused(
            folder, f"{WEIGHTS} is not a safetensors file ({error})", COPY_AGAIN, "package_weights"
        ) from error


def _arrays(folder: Path, content: bytes) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES[REFERENCE]:
                raise ValueError("it unpacks to more than a package may hold")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
        foreign = [name for name, value in loaded.items() if not isinstance(value, np.ndarray)]
        if foreign:
            raise ValueError(f"{foreign[0]} is not an array")
        return loaded
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise refused(
            folder, f"{REFERENCE} cannot be read ({error})", COPY_AGAIN, "package_reference"
        ) from error
