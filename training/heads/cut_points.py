"""Where a real-valued grade passes from class to class; without torch, since evaluation asks too."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from offsite.errors import InputError


@dataclass(frozen=True)
class CutPoints:
    """Where a real-valued grade passes from class to class.

    Attributes
    ----------
    cuts : tuple of float
        C - 1 values, not falling: a grade is of class k where k cuts are <= it.
    scale : float
        Softness of the probabilities, > 0 (grades).
    kappa : float
        Quadratic weighted kappa that the cuts reach on the predictions they were fitted to.
    """

    cuts: tuple[float, ...]
    scale: float
    kappa: float

    def classes(self, grades: np.ndarray) -> np.ndarray:
        """Return the class of each grade (int64)."""
        return np.searchsorted(np.asarray(self.cuts), grades, side="right")


def fit_cut_points(
    grades: np.ndarray, labels: np.ndarray, n_classes: int, weights: np.ndarray | None = None
) -> CutPoints:
    """Return the cut-points with the highest quadratic weighted kappa, and the fitting softness.

    The optimum is exact. With N items, kappa is 1 - A / B with A = sum_n (y_n - p_n)^2 and
    B = sum_n mean_m (y_m - p_n)^2, both sums (and the mean) over items by their weights, so for a given ratio r the cuts that
    minimise A - r B follow from one pass over the sorted grades per class; Dinkelbach's iteration
    over r ends at the lowest A / B. Our construction.

    Fit on training or validation predictions, never on a held-out site.

    Parameters
    ----------
    grades : array
        N real-valued grades.
    labels : array
        N true classes in 0..C-1.
    n_classes : int
        C >= 2.
    weights : array, optional
        N, > 0; by default all alike.

    Raises
    ------
    InputError
        Code ``one_class``: all labels are equal, so kappa is undefined.
    """
    order = np.argsort(grades, kind="stable")
    s, y = np.asarray(grades, dtype=np.float64)[order], np.asarray(labels)[order]
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=np.float64)[order]
    if len(np.unique(y)) < 2:
        raise InputError(
            "cut-points cannot be fitted to items of one grade",
            remedy="Fit them on predictions that cover at least two grades",
            code="one_class",
        )
    classes = np.arange(n_classes)
    apart = (y[:, None] - classes) ** 2.0
    error = w[:, None] * apart
    chance = w[:, None] * (error.sum(axis=0) / w.sum())
    places, ratio = _best_places(s, error), np.inf
    for _ in range(100):
        predicted = np.searchsorted(places, np.arange(len(s)), side="right")
        rows = np.arange(len(s))
        below = chance[rows, predicted].sum()
        # B = 0 happens for no prediction but that of the only true class, ruled out above.
        reached = error[rows, predicted].sum() / below
        if reached >= ratio - 1e-12:
            break
        ratio, kept = reached, places
        places = _best_places(s, error - ratio * chance)
    cuts = _between(s, kept)
    return CutPoints(tuple(cuts), _best_scale(s, y, cuts, w), float(1 - ratio))


def _best_places(s: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return for each class k >= 1 the first item of class >= k, at the lowest total cost."""
    n, n_classes = cost.shape
    total = np.concatenate([np.zeros((1, n_classes)), np.cumsum(cost, axis=0)])
    allowed = np.concatenate([[True], s[1:] > s[:-1], [True]])  # equal grades stay together
    best, starts = np.zeros(n + 1), []  # lowest cost where class k begins at or before each item
    for k in range(1, n_classes):
        moved = np.where(allowed, best + total[:, k - 1] - total[:, k], np.inf)
        best = np.minimum.accumulate(moved)
        lower = moved < np.concatenate([[np.inf], best[:-1]])
        starts.append(np.maximum.accumulate(np.where(lower, np.arange(n + 1), 0)))
    places, end = np.empty(n_classes - 1, dtype=np.int64), n
    for k in reversed(range(n_classes - 1)):
        end = starts[k][end]
        places[k] = end
    return places


def _between(s: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return cuts halfway between the items that they part; outside them, halfway to the grade."""
    natural = np.arange(len(places)) + 0.5
    cuts = np.empty(len(places))
    for k, cut in enumerate(places):
        if cut == 0:
            cuts[k] = min(s[0], natural[k])
        elif cut == len(s):
            cuts[k] = max(np.nextafter(s[-1], np.inf), natural[k])
        else:
            cuts[k] = (s[cut - 1] + s[cut]) / 2
    return np.maximum.accumulate(cuts)


def _best_scale(s: np.ndarray, y: np.ndarray, cuts: np.ndarray, w: np.ndarray) -> float:
    """Return the scale with the highest likelihood of the labels."""
    steps = np.cumsum(s[:, None] - cuts, axis=1)
    raw = np.concatenate([np.zeros((len(s), 1)), steps], axis=1)

    def loss(log_scale: float) -> float:
        log_p = log_softmax(raw / np.exp(log_scale), axis=1)
        return float(-np.average(log_p[np.arange(len(y)), y], weights=w))

    minimum = minimize_scalar(loss, bounds=(np.log(0.02), np.log(20.0)), method="bounded")
    return float(np.exp(minimum.x))
