"""What a child does: it begins, carries out tasks, and follows its parent into the end."""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from ctypes import Array, c_double
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from offsite.children import budget, clock

_ORPHAN_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1
_streams: list[Iterator[Any]] = []
_longest = 0.0


def begin(shared: "Array[c_double]", log: str, room: str, threads: int, longest: float) -> None:
    """Make a process ready: what C libraries print goes to ``log``, and no core is written."""
    global _longest
    _longest = longest
    # Whoever asks for the end asks the parent, which may be writing its tables.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    handle = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    faulthandler.enable(2, all_threads=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _follow_in_the_kernel()
    threading.Thread(target=_follow, daemon=True).start()
    clock.share(shared)
    budget.share(Path(room))
    import cv2

    cv2.setNumThreads(threads)


def _follow_in_the_kernel() -> None:
    """Have Linux kill this process with the one it is forked from, which ends with the program.

    C code may hold the interpreter, so that no thread of this process can look. The process it is
    forked from lives as long as anybody holds the pipe by which it sees the program: this one must not.
    """
    server = getattr(forkserver, "_forkserver", None)
    held = getattr(server, "_forkserver_alive_fd", None)
    if server is not None and held is not None:
        os.close(held)
        server._forkserver_alive_fd = None
    with contextlib.suppress(OSError, AttributeError):  # another system: the thread and a timer do
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def run(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Carry out one task on the clock."""
    os.ftruncate(2, 0)
    # Should the parent be gone while C code holds the interpreter, the kernel ends this process.
    signal.setitimer(signal.ITIMER_REAL, _longest + _ORPHAN_SECONDS)
    clock.start()
    try:
        return function(*args, **named)
    except Exception as error:
        raise portable(error) from error
    finally:
        clock.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)


def portable(error: Exception) -> Exception:
    """Return an error that another process can be told of: this one, or one in its words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (made here)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def open_stream(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Begin a task that answers in parts."""
    _streams[:] = [iter(function(*args, **named))]


def next_of_stream() -> tuple[bool, Any]:
    """Return whether there is a further part, and the part."""
    for part in _streams[0]:
        return True, part
    return False, None


def close_stream() -> None:
    """Leave a stream before its end."""
    close = getattr(_streams.pop(), "close", None)
    if close is not None:
        close()
