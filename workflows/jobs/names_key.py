"""The key that turns names of images and patients into digests for a shared store."""

import logging
import os
import secrets
from pathlib import Path

from offsite.errors import InputError

_BYTES = 32
_LOG = logging.getLogger("offsite.jobs")


def names_key(path: str | Path, *, make: bool) -> bytes | None:
    """Return a job's key, which is made where there is none and never leaves this machine.

    Parameters
    ----------
    path : path
        The file: 64 hexadecimal digits, readable by its owner alone.
    make : bool
        Whether to make a missing one; else there is then none.

    Raises
    ------
    InputError
        Code ``bad_names_key``: the file is no key, or cannot be read or made.
    """
    file = Path(path)
    try:
        if not file.is_file():
            return _made(file) if make else None
        if file.stat().st_mode & 0o077:
            _LOG.warning("%s can be read by others: chmod 600 it", file)
        text = file.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise _unusable(file) from error
    if len(key) != _BYTES:
        raise _unusable(file)
    return key


def _made(file: Path) -> bytes:
    file.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_bytes(_BYTES)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process of the job was first
        return bytes.fromhex(file.read_text(encoding="ascii").strip())
    with os.fdopen(handle, "w", encoding="ascii") as opened:
        opened.write(key.hex() + "\n")
    return key


def _unusable(file: Path) -> InputError:
    return InputError(
        "the key for names cannot be used: it is 64 hexadecimal digits in a file of yours",
        file=file,
        remedy="Bring the key back from where it was made, or name another file in"
        " tracking.names_key; what was kept under a lost key is compared no more",
        code="bad_names_key",
    )
