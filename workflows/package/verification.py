"""Check every byte of a model package against its sums, and refuse what is not as it was made.

A package is five plain files. ``SHA256SUMS`` covers the other four; a file that is missing,
changed or does not belong there is refused by name. A sixth, ``SIGNATURE``, may say who made it.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from offsite.errors import InputError

RECORD, WEIGHTS, REFERENCE, CARD = "model.json", "weights.safetensors", "reference.npz", "card.md"
CONTENT = (RECORD, WEIGHTS, REFERENCE, CARD)
SUMS, SIGNATURE = "SHA256SUMS", "SIGNATURE"
MAX_BYTES = {
    RECORD: 32 << 20,
    WEIGHTS: 16 << 30,
    REFERENCE: 4 << 30,
    CARD: 4 << 20,
    SUMS: 4096,
    SIGNATURE: 64 << 10,
}
COPY_AGAIN = "Copy the package again from where it was made; do not use this one"


class ModelRefused(InputError):
    """A model package that must not be used; commands end with exit code 4."""


def refused(file: Path, problem: str, remedy: str, code: str) -> ModelRefused:
    """Make the error for a package that must not be used."""
    return ModelRefused(problem, remedy=remedy, file=file, code=code)


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
    check_listing(folder)
    expected = read_sums(folder)
    for name in CONTENT:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _compare(folder, name, digest, expected)
    return hashlib.sha256(sums_text(expected).encode()).hexdigest()


def check_listing(folder: Path) -> None:
    """Refuse a folder that is not exactly the five plain files of a package."""
    present: dict[str, os.DirEntry[str]] = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            present = {entry.name: entry for entry in entries}
    if present.keys().isdisjoint((*CONTENT, SUMS)):
        # A wrong path, and no package that was tampered with.
        raise InputError(
            "no such model package",
            file=folder,
            remedy="Name the folder of a package",
            code="package_missing",
        )
    for name in (*CONTENT, SUMS, SIGNATURE):
        entry = present.pop(name, None)
        if entry is None and name == SIGNATURE:
            continue
        if entry is None:
            raise refused(folder, f"{name} is missing", COPY_AGAIN, "package_incomplete")
        if not entry.is_file(follow_symlinks=False):
            raise refused(folder, f"{name} is not a plain file", COPY_AGAIN, "package_changed")
        if entry.stat().st_size > MAX_BYTES[name]:
            raise refused(
                folder, f"{name} is larger than a package's", COPY_AGAIN, "package_changed"
            )
    if present:
        raise refused(
            folder,
            f"{min(present)!r} does not belong to a model package",
            "Nothing but the files of a package may be there; remove it and ask who put it",
            "package_foreign_file",
        )


def sums_text(sums: Mapping[str, str]) -> str:
    """Return the content of ``SHA256SUMS`` for digests by file name."""
    return "".join(f"{sums[name]}  {name}\n" for name in CONTENT)


def read_sums(folder: Path) -> dict[str, str]:
    """Return the digests by file name that ``SHA256SUMS`` states."""
    text = (folder / SUMS).read_bytes().decode("ascii", "replace")
    parts = [line.split("  ", 1) for line in text.splitlines()]
    sums = {part[1]: part[0] for part in parts if len(part) == 2 and len(part[0]) == 64}
    if set(sums) != set(CONTENT) or sums_text(sums) != text:
        raise refused(folder, f"{SUMS} is not as it was written", COPY_AGAIN, "package_changed")
    return sums


def _compare(folder: Path, name: str, digest: str, expected: Mapping[str, str]) -> None:
    if digest != expected[name]:
        raise refused(
            folder,
            f"{name} is not the file that {SUMS} describes: one of the two was changed",
            COPY_AGAIN,
            "package_changed",
        )


def verified_bytes(folder: Path, name: str, expected: Mapping[str, str]) -> bytes:
    """Read a file once; what is returned is what was compared with its digest."""
    content = (folder / name).read_bytes()
    _compare(folder, name, hashlib.sha256(content).hexdigest(), expected)
    return content
