"""One budget of decoded pixels over all processes that read side by side.

A small file can hold many pixels: a PNG of 780 kB takes 0.9 GB while it is decoded. Pictures of
ordinary size are decoded side by side, large ones one after the other.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offsite.children import clock

ORDINARY = 25_000_000
"""Pixels up to which pictures are decoded side by side."""

_in_this_process = threading.Lock()
_file: Path | None = None


def share(file: Path) -> None:
    """Keep the budget with all processes that name the same lock file."""
    global _file
    _file = file


@contextmanager
def room_for(pixels: int) -> Iterator[None]:
    """Hold room for a picture of so many pixels; of two large ones, the second waits.

    The time of waiting is not counted against the picture. The lock of a process that is killed
    goes with it.
    """
    if pixels <= ORDINARY:
        yield
        return
    with clock.paused():
        _in_this_process.acquire()
        handle = _locked(_file) if _file is not None else None
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
        _in_this_process.release()


def _locked(file: Path) -> int:
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle
