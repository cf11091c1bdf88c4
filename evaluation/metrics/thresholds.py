"""What a threshold does: true and false positives and negatives in each draw, and their shares."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from offsite.evaluation.metrics import confusion
from offsite.evaluation.statistics.measured import Measured, share
from offsite.evaluation.statistics.resampling import blocks
from offsite.evaluation.statistics.site import Site

AT_THRESHOLD = ("sensitivity", "specificity", "ppv", "npv")
"""Metrics of a task that depend on its threshold."""


class Outcomes(NamedTuple):
    """Rows by outcome in each draw, float64, B each."""

    caught: np.ndarray
    missed: np.ndarray
    alarms: np.ndarray
    cleared: np.ndarray


def outcomes(site: Site, flagged: np.ndarray, positive: np.ndarray) -> Outcomes:
    """Weighted outcomes of N flags against N truths."""
    cells = np.stack(
        [positive & flagged, positive & ~flagged, ~positive & flagged, ~positive & ~flagged], axis=1
    )
    return Outcomes(*site.totals(cells.astype(np.float64)).T)


def shares_at(
    site: Site, flagged: np.ndarray, positive: np.ndarray, *, prefix: str = "", detail: str = ""
) -> Iterator[Measured]:
    """Sensitivity, specificity, PPV and NPV of N flags."""
    seen = outcomes(site, flagged, positive)
    for name, right, wrong, hits, among in (
        ("sensitivity", seen.caught, seen.missed, flagged, positive),
        ("specificity", seen.cleared, seen.alarms, ~flagged, ~positive),
        ("ppv", seen.caught, seen.alarms, positive, flagged),
        ("npv", seen.cleared, seen.missed, ~positive, ~flagged),
    ):
        count, values = int(positive[among].sum()), confusion.ratio(right, right + wrong)
        yield share(prefix + name, values, site, hits, among, positive=count, detail=detail)


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
