"""AUROC and both false-positive rates of a score, with a bootstrap of patients in one kernel."""

from dataclasses import dataclass

import numpy as np

_BLOCK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
    """How a score tells positives from negatives; arrays of B for B weightings.

    Attributes
    ----------
    auroc : numpy.ndarray
        Probability that a positive scores above a negative, ties half.
    fpr_ood_at_95_id_kept : numpy.ndarray
        The threshold keeps 95 % of negatives (in-distribution): share of positives kept with them.
        The convention of ODIN; deployable, for the threshold needs no positives.
    fpr_id_at_95_ood_caught : numpy.ndarray
        The threshold catches 95 % of positives: share of negatives flagged with them. The
        convention of OpenOOD and OpenMIBOOD.
    """

    auroc: np.ndarray
    fpr_ood_at_95_id_kept: np.ndarray
    fpr_id_at_95_ood_caught: np.ndarray


def separation(
    scores: np.ndarray,
    positive: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    share: float = 0.95,
) -> Separation:
    """Separation of positives (out of distribution, or wrong) from negatives.

    Parameters
    ----------
    scores : numpy.ndarray
        N, larger for positives.
    positive : numpy.ndarray
        N booleans.
    weights : numpy.ndarray, optional
        B x N non-negative whole weights, how often a resample holds each row; one row of ones
        by default. A weighting without negatives or without positives gives NaN.
    share : float
        The 95 % of the two rates.
    """
    values, mask = np.asarray(scores), np.asarray(positive, dtype=bool)
    if weights is None:
        weights = np.ones((1, len(values)), dtype=np.float32)
    sides = _Sides.of(values, mask)
    parts = [
        _block(sides, weights[start : start + _BLOCK], share)
        for start in range(0, len(weights), _BLOCK)
    ]
    auroc, kept, caught = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Separation(auroc=auroc, fpr_ood_at_95_id_kept=kept, fpr_id_at_95_ood_caught=caught)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sides:
    """Negatives and positives, each in increasing order of score; ``at`` are their row numbers."""

    inside: np.ndarray
    inside_at: np.ndarray
    ood: np.ndarray
    ood_at: np.ndarray
    under: np.ndarray
    upto: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray) -> "_Sides":
        negatives, positives = np.flatnonzero(~positive), np.flatnonzero(positive)
        inside_at = negatives[np.argsort(scores[negatives], kind="stable")]
        ood_at = positives[np.argsort(scores[positives], kind="stable")]
        inside, ood = scores[inside_at], scores[ood_at]
        return cls(
            inside=inside,
            inside_at=inside_at,
            ood=ood,
            ood_at=ood_at,
            under=np.searchsorted(inside, ood, side="left"),
            upto=np.searchsorted(inside, ood, side="right"),
        )


def _block(
    sides: _Sides, weights: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three numbers of each weighting, from one running sum of either side."""
    ood_weight = weights[:, sides.ood_at]
    inside_to, ood_to = _running(weights[:, sides.inside_at]), _running(ood_weight)
    n, m = inside_to[:, -1].astype(np.float64), ood_to[:, -1].astype(np.float64)
    nothing = (n == 0) | (m == 0)
    if len(sides.inside) == 0 or len(sides.ood) == 0 or nothing.all():
        blank = np.full(len(weights), np.nan)
        return blank, blank, blank
    beaten = inside_to[:, sides.upto]
    if not np.array_equal(sides.under, sides.upto):
        beaten = (beaten + inside_to[:, sides.under]) / 2
    beaten *= ood_weight
    rows = np.arange(len(weights))
    # Whole counts against a share: the small slack keeps 19 of 20 from missing 95 % by rounding.
    keep = (inside_to[:, 1:] < (share * n - 1e-6)[:, None]).sum(axis=1)
    limit = sides.inside[np.minimum(keep, len(sides.inside) - 1)]
    kept = ood_to[rows, np.searchsorted(sides.ood, limit, side="right")]
    last = (ood_to[:, :-1] <= ((1 - share) * m + 1e-6)[:, None]).sum(axis=1) - 1
    spared = inside_to[rows, np.searchsorted(sides.inside, sides.ood[last], side="left")]
    inside_n, ood_n = np.where(nothing, np.nan, n), np.where(nothing, np.nan, m)
    return (
        beaten.sum(axis=1, dtype=np.float64) / (inside_n * ood_n),
        kept / ood_n,
        (n - spared) / inside_n,
    )


def _running(weights: np.ndarray) -> np.ndarray:
    """Running sums from 0; whole numbers under 2^24, so float32 is exact and fast."""
    total = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=np.float32)
    np.cumsum(weights, axis=1, out=total[:, 1:])
    return total
