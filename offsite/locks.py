"""One writer at a time: a second one is told who holds the folder, since when, and what to do.

The lock is the kernel's (``flock``): it goes with the process that holds it, also by a crash. A file
system without locks, as some network mounts are, says so (ENOLCK and its like): the work goes on
without one, and that is said once.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from offsite.errors import InputError
from offsite.files import BOOKKEEPING

PREFIX = f"{BOOKKEEPING}lock"
IN_USE = "folder_in_use"
OTHER_RUN = "another run is writing to this folder"
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN)
_LOG = logging.getLogger("offsite.locks")
_told: set[Path] = set()
# What this process holds, by thread: a stage may call another that holds the same folder.
_held: dict[tuple[Path, int], int] = {}


@contextmanager
def writing(folder: str | Path, name: str = "", part: str = "") -> Iterator[None]:
    """Hold a folder for a whole stage, or for one part (``i/n``) of a stage in n parts.

    Parts of the same n stand beside one another; everything else excludes everything else. A
    thread that holds the folder may hold it again. Of the processes of one distributed training
    only the first holds it.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    name : str
        What is written, where several stages write into one folder side by side.
    part : str
        ``i/n``, or "" for the whole.

    Raises
    ------
    InputError
        Code ``folder_in_use``: someone else writes there.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    key = (root.resolve() / f"{name} {part}", threading.get_ident())
    if key in _held or _follows_another_rank():
        yield
        return
    whole = f"{PREFIX}-{name}" if name else PREFIX
    with ExitStack() as stack:
        if not part:
            _take(root / whole, fcntl.LOCK_EX, stack)
        else:
            number, _, parts = part.partition("/")
            _take(root / whole, fcntl.LOCK_SH, stack)
            _take(root / f"{whole}-of-{parts}", fcntl.LOCK_SH, stack)
            _take(root / f"{whole}-{number}-of-{parts}", fcntl.LOCK_EX, stack)
            for other in sorted(root.glob(f"{whole}-of-*")):
                if other.name != f"{whole}-of-{parts}":
                    with ExitStack() as briefly:
                        _take(other, fcntl.LOCK_EX, briefly)
        _held[key] = os.getpid()
        stack.callback(_held.pop, key)
        yield


@contextmanager
def alone(file: str | Path, *, wait: bool = False, problem: str = OTHER_RUN) -> Iterator[int]:
    """Hold one lock file; yields its descriptor, which a child process may inherit.

    Parameters
    ----------
    file : path
        Made where it is missing; its content says who holds it.
    wait : bool
        Wait for the holder instead of refusing.
    problem : str
        What the refusal says, before it names the holder.

    Raises
    ------
    InputError
        Code ``folder_in_use``.
    """
    with ExitStack() as stack:
        yield _take(Path(file), fcntl.LOCK_EX, stack, wait=wait, problem=problem)


def has_locks(folder: str | Path) -> bool:
    """Whether no lock in the folder was answered by 'there are no locks here'."""
    return Path(folder).resolve() not in _told


def _take(
    file: Path, how: int, stack: ExitStack, *, wait: bool = False, problem: str = OTHER_RUN
) -> int:
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(
            f"the folder cannot be written to ({error.strerror})",
            remedy="Name another folder, or get the right to write there",
            file=file.parent,
            code="not_writable",
        ) from error
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, how if wait else how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            raise _in_use(file, problem) from None
        _tell_once(file.parent, error)
        return handle
    if how == fcntl.LOCK_EX:
        os.ftruncate(handle, 0)
    if not os.fstat(handle).st_size:
        os.pwrite(handle, json.dumps(_holder()).encode(), 0)
    return handle


def _holder() -> dict[str, Any]:
    # The command without what follows it: file names may be names of patients.
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    return {
        "command": f"offsite {command}".strip()[:40],
        "process": os.getpid(),
        "machine": platform.node(),
        "since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _in_use(file: Path, problem: str) -> InputError:
    who = "it does not say which"
    try:
        with file.open(encoding="utf-8") as opened:
            holder = json.loads(opened.read(4096))
        who = (
            f"{holder['command']} (process {holder['process']} on {holder['machine']},"
            f" since {holder['since']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return InputError(
        f"{problem}: {who}",
        remedy="Wait for it or end it, or name another folder; a run that was killed holds nothing",
        file=file.parent,
        code=IN_USE,
    )


def _tell_once(folder: Path, error: OSError) -> None:
    known = folder.resolve()
    if known not in _told:
        _told.add(known)
        _LOG.warning(
            "%s: its file system has no locks (%s); going on without: start no second run there",
            folder,
            error.strerror,
        )


def _follows_another_rank() -> bool:
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("RANK", "LOCAL_RANK"))
