"""Outputs that stand alone in a folder: written only over what offsite itself wrote there.

Folders of images and runs have records that name their files. Tables, pages and pictures that have
none are entered in a list beside them, ``.offsite-written``: a line for each file written, with its
SHA-256. A file that is not in the list as it stands is somebody else's, or was changed by somebody.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offsite.files import BOOKKEEPING, file_digest, in_the_way, is_plain_file, replacing

LIST = f"{BOOKKEEPING}written"
_known: dict[Path, "_Entries"] = {}
_one_at_a_time = threading.Lock()


class _Entries:
    """The list of one folder, of which only what was added since is read again."""

    def __init__(self, inode: int) -> None:
        self.inode, self.read = inode, 0
        self.digests: dict[str, set[str]] = {}

    def add(self, text: bytes) -> None:
        whole = text[: text.rfind(b"\n") + 1]  # a line cut short vouches for nothing
        self.read += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, TypeError):
                digest, name = json.loads(line)
                self.digests.setdefault(name, set()).add(digest)


@contextmanager
def replacing_own(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path as `offsite.files.replacing` does, for a file that stands alone.

    Raises
    ------
    InputError
        Code ``not_ours``: a file of this name is there that offsite did not write, or that was
        changed since. It stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for text in ("one", "two"):
    ...         with replacing_own(Path(folder) / "a.csv") as file:
    ...             _ = file.write_text(text)
    ...     (Path(folder) / "a.csv").read_text()
    'two'
    """
    target = Path(path)
    check_own(target)
    with replacing(target) as temporary:
        yield temporary
        enter(target, file_digest(temporary))


def write_own(path: str | Path, content: bytes | str) -> None:
    """Write a file that stands alone, atomically; text as UTF-8. Raises as `replacing_own`."""
    with replacing_own(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_own_json(path: str | Path, value: object) -> None:
    """Write indented JSON that stands alone. Raises as `replacing_own`."""
    write_own(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_own(path: str | Path) -> None:
    """Refuse a path at which something stands that offsite did not write, or that was changed.

    Raises
    ------
    InputError
        Code ``not_ours``.
    """
    target = Path(path)
    if not os.path.lexists(target):
        return
    if not is_plain_file(target) or not is_own(target):
        raise in_the_way(target)


def check_unchanged(path: str | Path) -> None:
    """Refuse a file that offsite wrote and somebody changed since; what no list names passes.

    Raises
    ------
    InputError
        Code ``not_ours``.
    """
    target = Path(path)
    if os.path.lexists(target) and _digests(target.parent, target.name):
        check_own(target)


def is_own(path: str | Path) -> bool:
    """Whether a file is, byte for byte, one that offsite entered in the list of its folder."""
    target = Path(path)
    known = _digests(target.parent, target.name)
    return bool(known) and file_digest(target) in known


def listed(folder: str | Path) -> tuple[str, ...]:
    """Return the names in the list of a folder, also of files that are there no more."""
    file = Path(folder) / LIST
    if not is_plain_file(file):
        return ()
    entries = _Entries(file.stat().st_ino)
    entries.add(file.read_bytes())
    return tuple(entries.digests)


def strike(path: str | Path) -> None:
    """Remove a file that offsite wrote, if it is there, and its name from the list of its folder.

    Nobody else may write to the folder meanwhile.

    Raises
    ------
    InputError
        Code ``not_ours``: the file is somebody else's, or was changed; it and the list stay.
    """
    target = Path(path)
    check_own(target)
    target.unlink(missing_ok=True)
    file = target.parent / LIST
    if not _digests(target.parent, target.name):
        return
    kept = []
    for line in file.read_bytes().splitlines(keepends=True):
        try:
            named = json.loads(line)[1]
        except (ValueError, TypeError, LookupError):
            continue  # a line cut short vouches for nothing
        if named != target.name:
            kept.append(line)
    with replacing(file) as temporary:
        temporary.write_bytes(b"".join(kept))


def enter(path: str | Path, digest: str) -> None:
    """Enter a file in the list of its folder before it takes its name.

    A run that is killed in between leaves an entry too many, which does no harm.
    """
    target = Path(path)
    line = json.dumps([digest, target.name]).encode() + b"\n"
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(target.parent / LIST, flags, 0o666)
    except OSError as error:
        if (target.parent / LIST).is_symlink():
            raise in_the_way(target.parent / LIST) from error
        raise
    try:
        # Over a network two machines would else write at one place of the file.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def _digests(folder: Path, name: str) -> frozenset[str]:
    file = folder / LIST
    if not is_plain_file(file):
        return frozenset()
    with _one_at_a_time, file.open("rb") as opened:
        facts = os.fstat(opened.fileno())
        entries = _known.get(file.absolute())
        if entries is None or entries.inode != facts.st_ino or entries.read > facts.st_size:
            entries = _known[file.absolute()] = _Entries(facts.st_ino)
        opened.seek(entries.read)
        entries.add(opened.read())
        return frozenset(entries.digests.get(name, ()))
