"""Cores shared out among threads, so that no library starts threads of its own beside them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """Return how many cores this process may use; where a system does not say, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def shared_cores(workers: int) -> Iterator[Callable[[], None]]:
    """Yield what each of ``workers`` threads calls first; undone for this thread at the end.

    Torch and OpenCV then use, in each, its share of the cores. Left alone, both use all cores in
    each thread, and the threads wait for one another.
    """
    import cv2
    import torch

    share = max(1, usable_cores() // workers)
    before = torch.get_num_threads(), cv2.getNumThreads()

    def take() -> None:
        torch.set_num_threads(share)  # holds for the thread that calls it
        cv2.setNumThreads(share)

    try:
        yield take
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
