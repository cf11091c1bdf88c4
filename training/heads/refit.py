"""A graded head fitted again with a few local cases, from sums of the rows it was first fitted to.

The new rows together weigh a stated share, the old ones the rest. Patients are parted in two halves;
each half is answered by the head fitted with the other, so every local case has an answer that did
not see it: those judge whether the refit helps, and thresholds can be set on them. Our construction,
after last-layer retraining (Kirichenko et al. 2023, arXiv 2204.02937).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from offsite.training.heads.cut_points import CutPoints, fit_cut_points
from offsite.training.heads.sums import RowSums, fit_grades

_LEVELS = (np.arange(50) + 0.5) / 50


@dataclass(frozen=True, eq=False)
class GradedHead:
    """A linear grade and where it passes from class to class.

    Attributes
    ----------
    slope, start : numpy.ndarray, float
        The grade of an embedding x (E) is ``slope @ x + start``.
    cuts : CutPoints
        C - 1 of them, and the softness of the probabilities.
    """

    slope: np.ndarray
    start: float
    cuts: CutPoints

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Return N x C logits of embeddings (N x E), as `ordinal.GradeHead` gives them."""
        return logits_of(rows @ self.slope + self.start, self.cuts)


@dataclass(frozen=True, eq=False)
class Refit:
    """A head fitted with local cases, and what the cases say of it.

    Attributes
    ----------
    head : GradedHead
        Fitted with all of them.
    left_out : numpy.ndarray
        N x C: logits of each case by the head of the half that it is not in.
    shares : numpy.ndarray
        N x C: logarithms of the class shares in that half (one added to each count): what knows the
        site's mixture and nothing of a case. A refit that does not beat it has learnt no more.
    """

    head: GradedHead
    left_out: np.ndarray
    shares: np.ndarray


def logits_of(grades: np.ndarray, cuts: CutPoints) -> np.ndarray:
    """Return N x C logits of grades: adjacent ones differ by (grade - cut) / scale.

    Examples
    --------
    >>> logits_of(np.array([0.0, 2.0]), CutPoints((0.5, 1.5), 0.5, 0.0)).tolist()
    [[0.0, -1.0, -4.0], [0.0, 3.0, 4.0]]
    """
    steps = (grades[:, None] - np.asarray(cuts.cuts)) / cuts.scale
    return np.concatenate([np.zeros((len(grades), 1)), np.cumsum(steps, axis=1)], axis=1)


def refit(
    sums: RowSums,
    rows: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    penalty: float,
    share: float = 0.25,
    seed: int = 0,
) -> Refit:
    """Fit a graded head to old sums and local rows.

    Parameters
    ----------
    sums : RowSums
        Of the rows of training.
    rows : numpy.ndarray
        N x E, local embeddings.
    labels : numpy.ndarray
        N, int in 0..C-1.
    patients : numpy.ndarray
        N names; a patient is in one half.
    penalty : float
        > 0, see `sums.fit_grades`.
    share : float
        Of the weight, in (0, 1), that all local rows have together.
    seed : int
        Of the halves.
    """
    old = sums.scaled((1 - share) / sums.weights.sum())
    halves = _halves(patients, seed)
    left_out = np.empty(len(rows))
    for half in (False, True):
        slope, start = _fitted(old, rows[halves != half], labels[halves != half], penalty, share)
        left_out[halves == half] = rows[halves == half] @ slope + start
    slope, start = _fitted(old, rows, labels, penalty, share)
    logits = np.empty((len(rows), len(sums.weights)))
    shares = np.empty_like(logits)
    for half in (False, True):
        # Cut by the other half's cases, whose labels this half's grades have not seen.
        others = halves != half
        cuts = cut_points_beside(old, slope, start, left_out[others], labels[others], share)
        logits[halves == half] = logits_of(left_out[halves == half], cuts)
        counts = np.bincount(labels[others], minlength=len(sums.weights)) + 1.0
        shares[halves == half] = np.log(counts / counts.sum())
    cuts = cut_points_beside(old, slope, start, left_out, labels, share)
    return Refit(GradedHead(slope, start, cuts), logits, shares)


def cut_points_beside(
    old: RowSums,
    slope: np.ndarray,
    start: float,
    grades: np.ndarray,
    labels: np.ndarray,
    share: float,
) -> CutPoints:
    """Return cut points of known grades beside those that rows known by their sums would have.

    The old rows' grades are not known, but their means by class are, and their common spread: each
    class stands as the quantiles of a normal distribution.

    Parameters
    ----------
    old : RowSums
        Their weights sum to 1 - share.
    slope, start : numpy.ndarray, float
        The grade of a row x (E) is ``slope @ x + start``.
    grades, labels : numpy.ndarray
        N known grades and their classes; none where ``share`` is 0.
    share : float
        Of the weight, in [0, 1), that the known grades have together.
    """
    known = np.flatnonzero(old.weights > 0)
    means = old.sums[known] / old.weights[known, None]
    within = slope @ old.second @ slope - (old.weights[known] * (means @ slope) ** 2).sum()
    spread = np.sqrt(max(within / old.weights.sum(), 1e-12))
    quantiles = (means @ slope + start)[:, None] + spread * norm.ppf(_LEVELS)
    weights = np.repeat(old.weights[known] / len(_LEVELS), len(_LEVELS))
    local = np.full(len(grades), share / max(len(grades), 1))
    return fit_cut_points(
        np.concatenate([quantiles.ravel(), grades]),
        np.concatenate([np.repeat(known, len(_LEVELS)), labels]),
        len(old.weights),
        np.concatenate([weights, local]),
    )


def gain_bound(
    before: np.ndarray, after: np.ndarray, patients: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the mean fall of a loss over patients, and its one-sided lower bound (Student's t).

    Parameters
    ----------
    before, after : numpy.ndarray
        N losses of the same cases.
    patients : numpy.ndarray
        N names; a patient counts once, by the mean of its cases.

    Examples
    --------
    >>> gain, bound = gain_bound(np.array([1.0, 2, 3]), np.array([0.5, 1.5, 2]), np.arange(3))
    >>> round(gain, 3), round(bound, 3)
    (0.667, 0.18)
    """
    _, patient_of_row = np.unique(patients, return_inverse=True)
    counts = np.bincount(patient_of_row)
    fall = np.bincount(patient_of_row, weights=before - after) / counts
    mean = float(fall.mean())
    if len(fall) < 2:
        return mean, -np.inf
    error = fall.std(ddof=1) / np.sqrt(len(fall))
    return mean, float(mean - t.ppf(confidence, len(fall) - 1) * error)


def _halves(patients: np.ndarray, seed: int) -> np.ndarray:
    names, patient_of_row = np.unique(patients, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order % 2 == 1)[patient_of_row])


def _fitted(
    old: RowSums, rows: np.ndarray, labels: np.ndarray, penalty: float, share: float
) -> tuple[np.ndarray, float]:
    weights = np.full(len(rows), share / max(len(rows), 1))
    new = RowSums.of(rows, labels, weights, len(old.weights))
    return fit_grades(old + new, [penalty])[0]
