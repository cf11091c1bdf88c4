"""Time two ways of computing the same, on one thread, and print them side by side."""

import os
import time
from collections.abc import Callable
from typing import Any

# Threads that wait would count as work; it must be said before NumPy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds and result of a call."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def line(name: str, slow: float, fast: float, note: str) -> None:
    """Print one comparison: seconds of both, their ratio and a note."""
    print(f"{name:<44} {slow:>9.2f} s {fast:>9.3f} s {slow / fast:>8.0f}x   {note}")
