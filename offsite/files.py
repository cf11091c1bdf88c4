"""Files that are either whole or absent, and digests that say whether an input changed."""

import errno
import glob
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offsite.errors import InputError

NOT_OURS = "not_ours"
BOOKKEEPING = ".offsite-"
"""How the names of files begin that say who wrote what, or who writes now."""
_BLOCK = 1 << 20
_WHOLE_FILE_LIMIT = 256 << 20
_SAMPLED_BLOCKS = 64
_LONGEST_PREFIX = 60


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# It can only be read by setting it, which threads must not do beside one another.
_UMASK = _umask()


def temporary_prefix(name: str) -> str:
    """Return how the temporary files of a name begin; of different names differently.

    Examples
    --------
    >>> temporary_prefix('tiles.csv')
    '.tiles.csv.'
    """
    short = name
    if len(name) > _LONGEST_PREFIX:  # slides of one archive share more than their first letters
        short = f"{name[: _LONGEST_PREFIX - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f".{short}."


def remove_leftovers(*targets: str | Path) -> None:
    """Remove what a killed run left of these files (`replacing` names them so)."""
    for target in map(Path, targets):
        for old in target.parent.glob(f"{glob.escape(temporary_prefix(target.name))}*.tmp"):
            old.unlink(missing_ok=True)


def is_plain_file(path: str | Path) -> bool:
    """Whether a path is a file itself: no link, folder, pipe or device, and not absent."""
    try:
        return stat.S_ISREG(Path(path).lstat().st_mode)
    except OSError:
        return False


def is_file(path: str | Path) -> bool:
    """Whether there is a file, also behind a link; of a name that no system takes there is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def in_the_way(path: str | Path) -> InputError:
    """Make the error for something that offsite would have to overwrite and did not write."""
    return InputError(
        "something that offsite did not write has the name of a result",
        remedy="Move it to another folder; offsite removes and overwrites only its results",
        file=path,
        code=NOT_OURS,
    )


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the name, on error it goes.

    A reader sees the old file or the new one, never a part. The file is synced to disk first,
    so a power cut leaves no empty file under the final name.

    This is for files that a record of their own vouches for; `offsite.written.replacing_own` is
    for all others.

    Raises
    ------
    InputError
        Code ``not_ours``: a link, a folder or a device bears the name; offsite writes none.
    """
    with _renamed(Path(path)) as (handle, temporary):
        os.close(handle)
        yield temporary
        with temporary.open("rb+") as file:
            _settle(file.fileno())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` atomically, as `replacing` does."""
    with _renamed(Path(path)) as (handle, _), os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        _settle(file.fileno())


@contextmanager
def _renamed(target: Path) -> Iterator[tuple[int, Path]]:
    """Yield handle and path of a new file beside ``target``, which takes its name, or goes."""
    if os.path.lexists(target) and not is_plain_file(target):
        raise in_the_way(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=temporary_prefix(target.name), suffix=".tmp"
    )
    temporary = Path(name)
    try:
        yield handle, temporary
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _settle(handle: int) -> None:
    os.fchmod(handle, 0o666 & ~_UMASK)
    os.fsync(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; non-finite numbers are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order.

    Examples
    --------
    >>> digest_of({'a': 1, 'b': 2}) == digest_of({'b': 2, 'a': 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's whole content; of a plain file alone (`check_plain`)."""
    check_plain(path)
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changed_file(folder: Path, digests: Mapping[str, str]) -> str | None:
    """Name of a file in ``folder`` that is missing or not of its digest (SHA-256), or None."""
    for name, digest in digests.items():
        if not (folder / name).is_file() or file_digest(folder / name) != digest:
            return name
    return None


def check_plain(path: str | Path) -> None:
    """Refuse what is no plain file with content before anything opens it.

    Opening or reading a pipe, a device or a file of ``/proc`` may wait for ever; the latter say that
    they are plain and of no size.

    Raises
    ------
    OSError
        ``EINVAL``: not a plain file; or why its facts cannot be read.
    """
    facts = Path(path).stat()
    special = not stat.S_ISREG(facts.st_mode)
    if special or (facts.st_size == 0 and Path(path).resolve().is_relative_to("/proc")):
        raise OSError(errno.EINVAL, "not a plain file", str(path))


def plain_bytes(path: str | Path, most: int) -> bytes | None:
    """Return what a plain file holds, or None where that is more than ``most`` bytes.

    The file is opened once, and what was opened is what was checked.

    Raises
    ------
    OSError
        As `check_plain`, or it cannot be read.
    """
    check_plain(path)
    # A pipe that has taken the file's place since would be waited for without this flag.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        if facts.st_size > most:
            return None
        content = file.read(most + 1)
    return content if len(content) <= most else None


def state_of(paths: Iterable[str | Path]) -> list[tuple[int, ...]]:
    """Return what changes when one of these files is replaced, written to or taken away.

    Read before and after a use of the files, it says whether all of it saw the same files.
    """
    states: list[tuple[int, ...]] = []
    for path in paths:
        try:
            facts = Path(path).stat()
        except OSError as error:
            states.append((-1, error.errno or 0))
        else:
            times = (facts.st_mtime_ns, facts.st_ctime_ns)
            states.append((facts.st_dev, facts.st_ino, facts.st_size, *times))
    return states


def is_sampled(path: str | Path) -> bool:
    """Whether `fingerprint` reads a file in part."""
    return Path(path).stat().st_size > _WHOLE_FILE_LIMIT


def fingerprint(path: str | Path) -> str:
    """A digest (hex) that changes when a file's content does; cheap also for huge slides.

    Files up to 256 MiB are hashed whole, so copying or touching them changes nothing. Larger ones
    are known by size, modification time and 64 blocks of 1 MiB spread evenly over them.
    """
    file_path = Path(path)
    check_plain(file_path)
    facts = file_path.stat()
    if facts.st_size <= _WHOLE_FILE_LIMIT:
        return file_digest(file_path)
    digest = hashlib.sha256(f"{facts.st_size}:{facts.st_mtime_ns}".encode())
    with file_path.open("rb") as file:
        for index in range(_SAMPLED_BLOCKS):
            file.seek(index * (facts.st_size - _BLOCK) // (_SAMPLED_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
