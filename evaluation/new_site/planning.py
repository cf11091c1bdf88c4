"""How many local cases it takes, before any is collected, to state a sensitivity or a threshold."""

import numpy as np
from scipy.stats import beta, binom

LARGEST = 20_000
"""Positive cases beyond which nothing is planned."""


def positives_for_sensitivity(
    sensitivity: float, within: float, confidence: float = 0.95
) -> int | None:
    """Fewest positive patients from which on the exact interval reaches no further than ``within``.

    Both ends of Clopper and Pearson's interval lie within so much of a sensitivity that is seen as
    it is expected; with as many patients the interval is as often a little wider as narrower.

    Parameters
    ----------
    sensitivity : float
        What is expected, 0..1.
    within : float
        Greatest distance of either end, 0..1.
    confidence : float
        Of the interval.

    Returns
    -------
    int or None
        ``None`` where more than twenty thousand would be needed.

    Examples
    --------
    >>> [positives_for_sensitivity(0.9, within) for within in (0.1, 0.05)]
    [65, 202]
    """
    n = np.arange(1, LARGEST + 1)
    tail, seen = (1 - confidence) / 2, sensitivity * n
    low = np.where(seen > 0, beta.ppf(tail, seen, n - seen + 1), 0.0)
    high = np.where(seen < n, beta.ppf(1 - tail, seen + 1, n - seen), 1.0)
    return _from_here_on(np.maximum(sensitivity - low, high - sensitivity) <= within)


def positives_for_threshold(
    sensitivity: float, within: float, confidence: float = 0.95
) -> int | None:
    """Fewest positive patients from which on a threshold's interval means sensitivities so near.

    The interval of :func:`offsite.evaluation.new_site.settings.local_threshold` goes from one ranked
    score to another; the shares of positives at or over the two lie within ``within`` of the wanted
    sensitivity, and both ends exist.

    Parameters
    ----------
    sensitivity, within, confidence : float
        As of :func:`positives_for_sensitivity`; the sensitivity is the wanted one.

    Examples
    --------
    >>> [positives_for_threshold(0.9, within) for within in (0.1, 0.05)]
    [66, 201]
    """
    n = np.arange(1, LARGEST + 1)
    tail, share = (1 - confidence) / 2, 1 - sensitivity
    under, over = binom.ppf(tail, n, share), binom.ppf(1 - tail, n, share) + 1
    bounded = (under >= 1) & (over <= n)
    return _from_here_on(bounded & (share - under / n <= within) & (over / n - share <= within))


def cases_for(positives: int, prevalence: float, assurance: float = 0.9) -> int:
    """Fewest cases among which there are so many positive ones with this probability.

    Examples
    --------
    >>> cases_for(100, 0.2), cases_for(100, 0.2, assurance=0.5)
    (558, 499)
    """
    low, high = positives, int(np.ceil(4 * positives / prevalence)) + 50
    while low < high:
        middle = (low + high) // 2
        enough = binom.sf(positives - 1, middle, prevalence) >= assurance
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def _from_here_on(good: np.ndarray) -> int | None:
    """The number (from 1) after the last that is not good; steps of whole cases go up and down."""
    bad = np.flatnonzero(~good)
    first = 1 if not len(bad) else int(bad[-1]) + 2
    return first if first <= len(good) else None
