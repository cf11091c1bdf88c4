"""Where a task is carried out: in children that can be killed, or in this process."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from offsite.children import inside
from offsite.children.child import Child
from offsite.children.ended import CLOSED, TIMED_OUT, ChildEnded, ChildrenClosed
from offsite.children.limits import LONGEST, Limits
from offsite.cores import usable_cores

R = TypeVar("R")
_LOOK_SECONDS = 0.1


class Place(Protocol):
    """Where functions are called that open the files of others."""

    def call(self, function: Callable[..., R], *args: Any, **named: Any) -> R:
        """Return what a function returns; function, arguments and result can be pickled.

        Raises
        ------
        ChildEnded
            It took too long, too much memory, or crashed.
        ChildrenClosed
            The run is being stopped.
        """

    def stream(self, function: Callable[..., Iterator[R]], *args: Any, **named: Any) -> Iterator[R]:
        """Yield what a function yields, each part made while the one before is used."""

    def stop(self) -> None:
        """End what is being done at once; nothing more is begun."""


class Here:
    """The calling process itself: for callers who trust their files."""

    def call(self, function: Callable[..., R], *args: Any, **named: Any) -> R:
        """Call it."""
        return function(*args, **named)

    def stream(self, function: Callable[..., Iterator[R]], *args: Any, **named: Any) -> Iterator[R]:
        """Call it."""
        yield from function(*args, **named)

    def stop(self) -> None:
        """Do nothing: what runs here cannot be ended."""


HERE = Here()


@contextmanager
def threads_at(place: Place, workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that have things done at a place; interrupted, they wait for nothing."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    except BaseException:
        place.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


class Children:
    """Some processes, each started when it is needed and replaced when it ended; safe in threads.

    A fault of a library, an endless loop and a full memory end a child and nothing else. Each task
    has a whole child, so that its end blames no other task.

    Parameters
    ----------
    workers : int
        Children at most; a further task waits.
    limits : Limits
        What a task may take.
    """

    def __init__(self, workers: int, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._threads = max(1, usable_cores() // workers)
        self._free = threading.Semaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="offsite-children-")
        self._watch = threading.Thread(target=self._look, name="watch children", daemon=True)
        self._watch.start()

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """See `Place`."""
        self.close()

    def close(self) -> None:
        """Kill all children; whoever waits for one is told that it ended."""
        self._closed.set()
        self._watch.join()
        with self._lock:
            children = [*self._idle, *self._busy]
            self._idle.clear()
        for child in children:
            child.end(CLOSED)
        for child in children:
            child.close()
        self._folder.cleanup()

    def call(self, function: Callable[..., R], *args: Any, **named: Any) -> R:
        """See `Place`."""
        with self._child() as child:
            result: R = child.result(child.submit(function, *args, **named))
            return result

    def stream(self, function: Callable[..., Iterator[R]], *args: Any, **named: Any) -> Iterator[R]:
        """See `Place`; of a whole stream, no more than `LONGEST` times the limit is waited for."""
        with self._child() as child:
            child.result(child.submit(inside.open_stream, function, args, named))
            ahead = child.submit(inside.next_of_stream)
            waited = 0.0
            try:
                while True:
                    start = time.monotonic()
                    more, part = child.result(ahead)
                    waited += time.monotonic() - start
                    if not more:
                        return
                    if waited > LONGEST * self._limits.case_seconds:
                        child.end(TIMED_OUT)
                    ahead = child.submit(inside.next_of_stream)
                    yield part
            except GeneratorExit:  # nobody wants the rest
                child.result(ahead)
                child.result(child.submit(inside.close_stream))
                raise

    @contextmanager
    def _child(self) -> Iterator[Child]:
        with self._free:
            child = self._taken()
            try:
                yield child
            except (ChildEnded, ChildrenClosed):
                with self._lock:
                    self._busy.discard(child)
                raise
            finally:
                self._put_back(child)

    def _put_back(self, child: Child) -> None:
        worn = child.is_worn()
        with self._lock:
            if child not in self._busy:
                return
            self._busy.discard(child)
            if not worn:
                self._idle.append(child)
        if worn:
            child.end(CLOSED)
            child.close()

    def _taken(self) -> Child:
        if self._closed.is_set():
            raise ChildrenClosed("the run was stopped")
        with self._lock:
            child = self._idle.pop() if self._idle else None
            while child is not None and not child.is_there():  # its end is no task's fault
                child = self._idle.pop() if self._idle else None
            if child is not None:
                self._busy.add(child)
        if child is None:
            child = Child(self._limits, Path(self._folder.name), self._threads)
            with self._lock:
                self._busy.add(child)
        if self._closed.is_set():
            child.end(CLOSED)
        return child

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            with self._lock:
                busy = list(self._busy)
            for child in busy:
                child.look()
