"""The time that a child has spent on its task, shared with the process that watches it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import Array, c_double

SINCE, TASK = 0, 1
"""Places of the shared array: start of the running stretch, and of the task; 0 = none."""

_shared: "Array[c_double] | None" = None


def share(shared: "Array[c_double]") -> None:
    """Tell the time to whoever watches this process, from now on."""
    global _shared
    _shared = shared


def start() -> None:
    """Begin a task."""
    if _shared is not None:
        _shared[SINCE] = _shared[TASK] = time.monotonic()


def stop() -> None:
    """End a task."""
    if _shared is not None:
        _shared[SINCE] = _shared[TASK] = 0.0


def tick() -> None:
    """Say that the task goes on: its time begins anew. Outside of a child nothing happens."""
    if _shared is not None and _shared[SINCE]:
        _shared[SINCE] = time.monotonic()


@contextmanager
def paused() -> Iterator[None]:
    """Wait for others without being blamed for the time."""
    if _shared is None or not _shared[SINCE]:
        yield
        return
    _shared[SINCE] = 0.0
    try:
        yield
    finally:
        _shared[SINCE] = time.monotonic()
