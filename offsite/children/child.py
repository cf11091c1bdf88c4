"""One child: a pool of one process, which is killed where it takes too long or too much."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from offsite.children import inside
from offsite.children.clock import SINCE, TASK
from offsite.children.ended import CRASHED, OUT_OF_MEMORY, TIMED_OUT, ChildEnded, why
from offsite.children.limits import LONGEST, Limits
from offsite.errors import InputError

# What takes long to import is imported once, in the process that children are forked from.
PRELOADED = ("numpy", "cv2", "PIL.Image", "pydantic")
PRELOADED_FOR_SLIDES = ("pandas", "openslide", "tifffile", "scipy.ndimage")
_TOLD = 2000  # characters of standard error that are kept
_LOOKED_AT = 32  # tasks after which its size is looked at
_starting = threading.Lock()


def ready_for_children() -> None:
    """Start the process that children are forked from; it loads libraries while others work.

    Those of slides are loaded where this process has loaded them. Raises `InputError` with code
    ``long_tmpdir`` where no socket fits into the folder of temporary files.

    A clean process is forked and not this one: threads of this one may hold locks.
    """
    with _starting, _without_main():
        of_slides = PRELOADED_FOR_SLIDES if "openslide" in sys.modules else ()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*PRELOADED, *of_slides])
        try:
            forkserver.ensure_running()
        except OSError as error:
            if "too long" not in str(error):
                raise
            raise InputError(
                "the folder of temporary files has too long a name for a socket",
                file=tempfile.gettempdir(),
                remedy="Set TMPDIR to a short path, such as /tmp",
                code="long_tmpdir",
            ) from error


class Child:
    """A process that carries out one task after the other.

    Parameters
    ----------
    limits : Limits
        What a task may take.
    folder : Path
        Where its log lies, and the lock of the pixels.
    threads : int
        Threads of its libraries.
    """

    def __init__(self, limits: Limits, folder: Path, threads: int) -> None:
        ready_for_children()
        context = multiprocessing.get_context("forkserver")
        self._limits, self._reason = limits, ""
        self._closing = threading.Lock()
        self._tasks = 0
        self._clock = context.RawArray("d", 2)
        self._log = folder / f"{id(self)}.log"
        longest = LONGEST * limits.case_seconds
        words = (self._clock, str(self._log), str(folder / "pixels"), threads, longest)
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=inside.begin, initargs=words
        )
        with _starting, _without_main():
            first = self._pool.submit(os.getpid)
        try:
            self._pid = first.result()
            self._listen_to_it_alone()
            self._process = next(
                child for child in multiprocessing.active_children() if child.pid == self._pid
            )
            self._facts = psutil.Process(self._pid)
            self._base = self._facts.memory_info().rss
        except (BrokenProcessPool, StopIteration, psutil.Error) as error:
            raise ChildEnded(CRASHED, "no process could be started to read it") from error

    def _listen_to_it_alone(self) -> None:
        """Close this process's own end for writing of the pipe that results come by.

        A child that is killed in the middle of a result leaves a part of it in the pipe. Whoever
        reads it would wait for the rest for ever, as long as anybody could still write there.
        """
        results = getattr(self._pool, "_result_queue", None)
        writer = getattr(results, "_writer", None)
        if writer is not None:
            writer.close()

    def submit(self, function: Callable[..., Any], *args: Any, **named: Any) -> "Future[Any]":
        """Begin a task."""
        try:
            return self._pool.submit(inside.run, function, args, named)
        except (BrokenProcessPool, RuntimeError):
            raise self._ended() from None

    def result(self, task: "Future[Any]") -> Any:
        """Wait for the result of a task.

        Raises
        ------
        ChildEnded
            It was ended, or ended by itself.
        ChildrenClosed
            The run is being stopped.
        """
        try:
            return task.result()
        except (BrokenProcessPool, CancelledError):
            raise self._ended() from None

    def look(self) -> None:
        """End it if its task takes too long or too much."""
        since, task = self._clock[SINCE], self._clock[TASK]
        if not task:
            return
        now, limits = time.monotonic(), self._limits
        seconds = max(now - since if since else 0.0, (now - task) / LONGEST)
        if seconds > limits.case_seconds:
            self.end(TIMED_OUT)
        elif self._grown() > limits.case_gib * (1 << 30):
            self.end(OUT_OF_MEMORY)

    def _grown(self) -> int:
        try:
            return int(self._facts.memory_info().rss) - self._base
        except psutil.Error:
            return 0

    def is_worn(self) -> bool:
        """Whether libraries have kept so much that a later task could be blamed for it."""
        self._tasks += 1
        often = self._tasks % _LOOKED_AT == 0
        return often and self._grown() > self._limits.case_gib * (1 << 29)

    def is_there(self) -> bool:
        """Whether the process has not ended of itself since its last task."""
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self, reason: str) -> None:
        """Kill it."""
        self._reason = self._reason or reason
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """Forget it, once it is killed."""
        with self._closing:  # whoever waits for it does so too
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _ended(self) -> Exception:
        self.close()  # then its exit code is known
        detail = ""
        with contextlib.suppress(OSError):
            told = self._log.read_text(encoding="utf-8", errors="replace")
            detail = told.partition("Extension modules:")[0][-_TOLD:]  # a list of no use
        return why(self._reason, self._process.exitcode, self._limits, detail)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program from a child that starts: it would run a script that has no main guard."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program
