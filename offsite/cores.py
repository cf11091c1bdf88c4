"""Cores shared out among threads, so that no library starts threads of its own beside them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """Return how many cores this process may use; where a system does not say, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Forward and backward, on one thread: half a minute to a minute on machines of today.
SMALL_WORK = 4e12
"""Multiplications under which threads of the work of one fit cost more than they save."""


@contextmanager
def threads_that_pay(multiplications: float) -> Iterator[int]:
    """Let torch and numpy compute small work on one thread, and yield torch's number of threads.

    On matrices of a few thousand rows threads mostly wait for one another, which costs several
    times the processor time and, where others compute on the machine, the waiting too. Large work
    keeps the number of threads that there is. Either is decided by the work alone, so that a fit that
    goes on computes as it began; it is undone at the end. Whoever sets ``OMP_NUM_THREADS`` has decided.

    Examples
    --------
    >>> import os
    >>> os.environ.pop("OMP_NUM_THREADS", None) and None
    >>> with threads_that_pay(1e9) as threads:
    ...     threads
    1
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    if multiplications >= SMALL_WORK or "OMP_NUM_THREADS" in os.environ:
        yield before
        return
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):  # numpy's, which knows nothing of torch's
            yield 1
    finally:
        torch.set_num_threads(before)


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
