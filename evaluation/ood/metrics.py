"""Both false-positive rates of a score, for the estimate and every draw of patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offsite.evaluation.statistics.resampling import blocks

_KEPT = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Rows in increasing order of score, with the draws of their units.

    Attributes
    ----------
    scores : numpy.ndarray
        N, increasing; larger is more out of distribution.
    units : numpy.ndarray
        N unit numbers.
    counts : numpy.ndarray
        B x units.
    """

    scores: np.ndarray
    units: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, units: np.ndarray, counts: np.ndarray) -> "Scored":
        """Sort N scores with their units."""
        order = np.argsort(scores, kind="stable")
        return cls(scores=scores[order], units=units[order], counts=counts)

    def upto(self, draws: np.ndarray) -> np.ndarray:
        """Rows among the first 0, 1, ... N in some of the draws, int32, b x (N + 1)."""
        total = np.zeros((len(draws), len(self.units) + 1), dtype=np.int32)
        np.cumsum(draws.take(self.units, axis=1), axis=1, out=total[:, 1:])
        return total


def false_positive_rates(
    familiar: Scored, sets: Sequence[Scored]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two conventions of the false-positive rate of each set against the familiar images.

    The first threshold keeps 95 % of the familiar images; the rate is the share of the set
    kept with them (ODIN; no foreign image is needed to set it). The second catches 95 % of
    the set; the rate is the share of familiar images flagged with them (OpenOOD). The familiar
    images are ranked once for all sets.

    Parameters
    ----------
    familiar : Scored
        In-distribution rows.
    sets : sequence of Scored
        Each with as many draws.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray)
        B kept and B flagged for each set; NaN where a draw lacks a side.

    Examples
    --------
    >>> one = np.ones((1, 20), dtype=np.uint8)
    >>> same, far = (Scored.of(np.arange(20.0) + shift, np.arange(20), one) for shift in (0, 50))
    >>> [tuple(float(rate[0]) for rate in rates) for rates in false_positive_rates(same, [same, far])]
    [(0.95, 0.95), (0.0, 0.0)]
    """
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in sets]
    start = 0
    for block in blocks(familiar.counts, len(familiar.units)):
        inside = familiar.upto(block)
        # Whole counts against a share: the slack keeps 19 of 20 from missing 95 % by rounding.
        keep = (inside[:, 1:] < (_KEPT * inside[:, -1:] - 1e-6)).sum(axis=1)
        rows = slice(start, start + len(block))
        for found, other in zip(parts, sets, strict=True):
            outside = other.upto(other.counts[rows])
            found.append(_rates(familiar, inside, keep, other, outside))
        start += len(block)
    return [
        (np.concatenate([kept for kept, _ in found]), np.concatenate([flag for _, flag in found]))
        for found in parts
    ]


def _rates(
    familiar: Scored,
    inside: np.ndarray,
    keep: np.ndarray,
    other: Scored,
    outside: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    n, m = inside[:, -1].astype(np.float64), outside[:, -1].astype(np.float64)
    if not len(familiar.scores) or not len(other.scores):
        blank = np.full(len(inside), np.nan)
        return blank, blank
    rows = np.arange(len(inside))
    limit = familiar.scores[np.minimum(keep, len(familiar.scores) - 1)]
    kept = outside[rows, np.searchsorted(other.scores, limit, side="right")]
    last = (outside[:, :-1] <= ((1 - _KEPT) * m + 1e-6)[:, None]).sum(axis=1) - 1
    spared = inside[rows, np.searchsorted(familiar.scores, other.scores[last], side="left")]
    missing = (n == 0) | (m == 0)
    n, m = np.where(missing, np.nan, n), np.where(missing, np.nan, m)
    return kept / m, (n - spared) / n
