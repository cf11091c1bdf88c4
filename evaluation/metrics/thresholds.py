"""What a threshold does: true and false positives and negatives in each draw, and their shares."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from offsite.evaluation.metrics import confusion
from offsite.evaluation.statistics.measured import Measured, share
from offsite.evaluation.statistics.resampling import blocks, weighted_sums
from offsite.evaluation.statistics.samples import Sample

AT_THRESHOLD = ("sensitivity", "specificity", "ppv", "npv")
"""Metrics of a task that depend on its threshold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Rows by outcome in each draw, float64, B each."""

    caught: np.ndarray
    missed: np.ndarray
    alarms: np.ndarray
    cleared: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """All rows."""
        return self.caught + self.missed + self.alarms + self.cleared

    @property
    def sensitivity(self) -> np.ndarray:
        """Caught of the positive; NaN where there is none."""
        return confusion.ratio(self.caught, self.caught + self.missed)

    @property
    def specificity(self) -> np.ndarray:
        """Cleared of the negative; NaN where there is none."""
        return confusion.ratio(self.cleared, self.cleared + self.alarms)


def outcomes(
    sample: Sample, counts: np.ndarray, flagged: np.ndarray, positive: np.ndarray
) -> Outcomes:
    """Weighted outcomes of N flags against N truths."""
    cells = np.stack(
        [positive & flagged, positive & ~flagged, ~positive & flagged, ~positive & ~flagged], axis=1
    )
    sums = weighted_sums(counts, sample.unit_sums(cells.astype(np.float64)))
    caught, missed, alarms, cleared = sums.T
    return Outcomes(caught=caught, missed=missed, alarms=alarms, cleared=cleared)


def shares_at(
    sample: Sample,
    counts: np.ndarray,
    flagged: np.ndarray,
    positive: np.ndarray,
    *,
    prefix: str = "",
    detail: str = "",
) -> Iterator[Measured]:
    """Sensitivity, specificity, PPV and NPV of N flags."""
    seen = outcomes(sample, counts, flagged, positive)
    ppv = confusion.ratio(seen.caught, seen.caught + seen.alarms)
    npv = confusion.ratio(seen.cleared, seen.cleared + seen.missed)
    for name, values, hits, among in (
        ("sensitivity", seen.sensitivity, flagged, positive),
        ("specificity", seen.specificity, ~flagged, ~positive),
        ("ppv", ppv, positive, flagged),
        ("npv", npv, ~positive, ~flagged),
    ):
        count = int(positive[among].sum())
        yield share(
            prefix + name, values, hits[among], sample.units[among], positive=count, detail=detail
        )


def needed_threshold(
    scores: np.ndarray,
    positive: np.ndarray,
    units: np.ndarray,
    counts: np.ndarray,
    target: float,
) -> tuple[np.ndarray, np.ndarray]:
    """In each draw the highest score whose sensitivity reaches the target, and its specificity.

    Parameters
    ----------
    scores, positive, units : numpy.ndarray
        N scores, booleans and unit numbers; some of each side.
    counts : numpy.ndarray
        B x units.
    target : float
        Wanted sensitivity, 0..1.

    Returns
    -------
    tuple of numpy.ndarray
        float64, B and B; NaN where a draw lacks that side.
    """
    down = np.argsort(-scores[positive], kind="stable")
    top, top_units = scores[positive][down], units[positive][down]
    up = np.argsort(scores[~positive], kind="stable")
    negative, negative_units = scores[~positive][up], units[~positive][up]
    thresholds, specificities = [], []
    for block in blocks(counts, len(scores)):
        caught = np.cumsum(block.take(top_units, axis=1), axis=1, dtype=np.int64)
        # Rounding must not ask for one positive more than the target does.
        wanted = np.ceil(target * caught[:, -1] - 1e-9)[:, None]
        index = np.minimum((caught < np.maximum(wanted, 1)).sum(axis=1), len(top) - 1)
        cut = np.where(caught[:, -1] > 0, top[index], np.nan)
        under = np.cumsum(block.take(negative_units, axis=1), axis=1, dtype=np.int64)
        below = np.searchsorted(negative, cut, side="left")
        cleared = np.where(below > 0, under[np.arange(len(cut)), below - 1], 0)
        thresholds.append(cut)
        specificities.append(
            np.where(np.isnan(cut), np.nan, confusion.ratio(cleared, under[:, -1]))
        )
    return np.concatenate(thresholds), np.concatenate(specificities)
