"""Schedules: pure functions of progress in [0, 1], clamped at both ends.

Each falls from 1 at the start to ``floor`` at the end. A function of progress alone needs no
state, so a resumed run follows the curve of an undisturbed one.
"""

import math
from typing import Literal

ScheduleName = Literal["linear", "parabolic", "cosine", "step", "constant"]


def scheduled(
    name: ScheduleName, progress: float, *, floor: float = 0.0, step_at: float = 0.5
) -> float:
    """Return the weight that schedule ``name`` gives at ``progress``.

    Parameters
    ----------
    name : {"linear", "parabolic", "cosine", "step", "constant"}
        With t the clamped progress: 1 - t; 1 - t^2 (Wang et al. 2021, arXiv 2103.14267);
        (1 + cos(pi t)) / 2; 1 before ``step_at`` and 0 from there; 1 throughout.
    progress : float
        Share of the training done; values outside [0, 1] are clamped.
    floor : float
        Value at the end, in [0, 1]. The curve f is lifted to floor + (1 - floor) f.
    step_at : float
        Progress at which ``step`` falls.

    Examples
    --------
    >>> scheduled("linear", 0.25)
    0.75
    >>> scheduled("parabolic", 2.0, floor=0.25)
    0.25
    """
    t = min(max(progress, 0.0), 1.0)
    if name == "linear":
        value = 1.0 - t
    elif name == "parabolic":
        value = 1.0 - t * t
    elif name == "cosine":
        value = 0.5 * (1.0 + math.cos(math.pi * t))
    elif name == "step":
        value = 1.0 if t < step_at else 0.0
    elif name == "constant":
        value = 1.0
    else:
        raise ValueError(f"no schedule is named {name!r}")
    return floor + (1.0 - floor) * value


def warmed_up(progress: float, warmup: float) -> float:
    """Return the linear warm-up factor in (0, 1]: ``progress / warmup`` up to 1.

    The first step gets a hundredth instead of nothing, so that it is not lost.

    Examples
    --------
    >>> [warmed_up(progress, warmup=0.1) for progress in (0.0, 0.05, 0.1, 0.5)]
    [0.01, 0.5, 1.0, 1.0]
    """
    if warmup <= 0.0 or progress >= warmup:
        return 1.0
    return max(progress / warmup, 0.01)
