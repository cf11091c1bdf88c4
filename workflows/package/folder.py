"""Write, verify and read a model package.

A package is five plain files. ``SHA256SUMS`` covers the other four; a file that is missing,
changed or does not belong there is refused by name. Nothing in a package is executed or
unpickled: JSON, safetensors and arrays are all there is. What is hashed is what is read.
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
from offsite.workflows.package.card import card_text
from offsite.workflows.package.contents import reference_bytes, weights_bytes
from offsite.workflows.package.schema import ModelRecord

if TYPE_CHECKING:
    from torch import Tensor

RECORD, WEIGHTS, REFERENCE, CARD = "model.json", "weights.safetensors", "reference.npz", "card.md"
CONTENT = (RECORD, WEIGHTS, REFERENCE, CARD)
SUMS = "SHA256SUMS"
MAX_BYTES = {RECORD: 32 << 20, WEIGHTS: 16 << 30, REFERENCE: 4 << 30, CARD: 4 << 20, SUMS: 4096}


class ModelRefused(InputError):
    """A model package that must not be used; commands end with exit code 4."""


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
        write_bytes(staged / SUMS, _sums_text(sums).encode())
        verify_package(staged)
        if target.exists():
            target.rename(Path(staging) / "old")
        staged.rename(target)
    return target


def _check_target(target: Path) -> None:
    """Refuse to replace what is more, or other, than a package: it would be deleted."""
    present = {path.name for path in target.iterdir()} if target.is_dir() else set()
    foreign = sorted(present - {*CONTENT, SUMS})
    if foreign or (target.exists() and not target.is_dir()) or (present and RECORD not in present):
        named = f" ({', '.join(foreign[:5])})" if foreign else ""
        raise InputError(
            f"the folder holds something that is not a model package{named}", file=target,
            remedy="Name a new or empty folder", code="folder_in_use",
        )  # fmt: skip


def verify_package(path: str | Path) -> str:
    """Check every byte of a package and return its digest.

    Raises
    ------
    InputError
        There is no package at all: the path is wrong.
    ModelRefused
        Naming the file that is missing, changed, too large or foreign.
    """
    folder = Path(path)
    _check_listing(folder)
    expected = _read_sums(folder)
    for name in CONTENT:
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        _compare(folder, name, found, expected)
    return hashlib.sha256(_sums_text(expected).encode()).hexdigest()


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
    _check_listing(folder)
    expected = _read_sums(folder)
    record = _record(folder, _verified(folder, RECORD, expected))
    _verified(folder, CARD, expected)
    weights = _tensors(folder, _verified(folder, WEIGHTS, expected))
    reference = _arrays(folder, _verified(folder, REFERENCE, expected))
    digest = hashlib.sha256(_sums_text(expected).encode()).hexdigest()
    return Package(path=folder, digest=digest, record=record, weights=weights, reference=reference)


def load_record(path: str | Path) -> tuple[ModelRecord, str]:
    """Verify a package and read ``model.json`` alone, without torch; also return the digest."""
    digest = verify_package(path)
    folder = Path(path)
    return _record(folder, _verified(folder, RECORD, _read_sums(folder))), digest


def export_package(source: str | Path, path: str | Path) -> Path:
    """Copy a verified package to a new folder, for another machine."""
    digest = verify_package(source)
    target = Path(path)
    if target.exists():
        raise InputError("the folder is there already", file=target, remedy="Name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:60]}.") as staging:
        staged = Path(staging) / "package"
        staged.mkdir()
        for name in (*CONTENT, SUMS):
            shutil.copyfile(Path(source) / name, staged / name)
        if verify_package(staged) != digest:
            raise refused(staged, "the copy differs", "Try again; look at the disk", "copy_failed")
        staged.rename(target)
    return target


def refused(file: Path, problem: str, remedy: str, code: str) -> ModelRefused:
    """Make the error for a package that must not be used."""
    return ModelRefused(problem, remedy=remedy, file=file, code=code)


_AGAIN = "Copy the package again from where it was made; do not use this one"


def _check_listing(folder: Path) -> None:
    present: dict[str, os.DirEntry[str]] = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            present = {entry.name: entry for entry in entries}
    if present.keys().isdisjoint((*CONTENT, SUMS)):
        # A wrong path, and no package that was tampered with.
        raise InputError(
            "no such model package", file=folder, remedy="Name the folder of a package",
            code="package_missing",
        )  # fmt: skip
    for name in (*CONTENT, SUMS):
        entry = present.pop(name, None)
        if entry is None:
            raise refused(folder, f"{name} is missing", _AGAIN, "package_incomplete")
        if not entry.is_file(follow_symlinks=False):
            raise refused(folder, f"{name} is not a plain file", _AGAIN, "package_changed")
        if entry.stat().st_size > MAX_BYTES[name]:
            raise refused(folder, f"{name} is larger than a package's", _AGAIN, "package_changed")
    if present:
        raise refused(
            folder, f"{min(present)!r} does not belong to a model package",
            "Nothing but the five files of a package may be there; remove it and ask who put it",
            "package_foreign_file",
        )  # fmt: skip


def _sums_text(sums: Mapping[str, str]) -> str:
    return "".join(f"{sums[name]}  {name}\n" for name in CONTENT)


def _read_sums(folder: Path) -> dict[str, str]:
    text = (folder / SUMS).read_bytes().decode("ascii", "replace")
    parts = [line.split("  ", 1) for line in text.splitlines()]
    sums = {part[1]: part[0] for part in parts if len(part) == 2 and len(part[0]) == 64}
    if set(sums) != set(CONTENT) or _sums_text(sums) != text:
        raise refused(folder, f"{SUMS} is not as it was written", _AGAIN, "package_changed")
    return sums


def _compare(folder: Path, name: str, found: str, expected: Mapping[str, str]) -> None:
    if found != expected[name]:
        raise refused(
            folder, f"{name} is not the file that {SUMS} describes: one of the two was changed",
            _AGAIN, "package_changed",
        )  # fmt: skip


def _verified(folder: Path, name: str, expected: Mapping[str, str]) -> bytes:
    content = (folder / name).read_bytes()
    _compare(folder, name, hashlib.sha256(content).hexdigest(), expected)
    return content


def _record(folder: Path, content: bytes) -> ModelRecord:
    try:
        return ModelRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise refused(
            folder / RECORD, f"{where}: {first['msg']}",
            "It was made by another version of offsite: make the package again", "package_schema",
        ) from error  # fmt: skip


def _tensors(folder: Path, content: bytes) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as error:
        raise refused(
            folder, f"{WEIGHTS} is not a safetensors file ({error})", _AGAIN, "package_weights"
        ) from error


def _arrays(folder: Path, content: bytes) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES[REFERENCE]:
                raise ValueError("it unpacks to more than a package may hold")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        foreign = [name for name, value in found.items() if not isinstance(value, np.ndarray)]
        if foreign:
            raise ValueError(f"{foreign[0]} is not an array")
        return found
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise refused(
            folder, f"{REFERENCE} cannot be read ({error})", _AGAIN, "package_reference"
        ) from error
