"""Intervals of means over classes, from an interval of each class."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from offsite.evaluation.statistics.binomial import clustered_interval

Share = tuple[np.ndarray, np.ndarray]
"""Booleans of rows, and their units."""


def mean_of_shares_interval(
    shares: Sequence[Share], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of shares of different rows, from the exact intervals of each.

    Zou and Donner (2008, "method of variance estimates recovery"): the squared distances of the
    bounds from their estimates add up, as variances do. Rows of a patient that fall into different
    shares are taken for independent.

    Parameters
    ----------
    shares : sequence of (numpy.ndarray, numpy.ndarray)
        Booleans and unit numbers of each.
    confidence : float
        Of the interval.

    Examples
    --------
    >>> one, other = np.arange(10) < 8, np.arange(10) < 6
    >>> [round(end, 2) for end in mean_of_shares_interval([(one, np.arange(10)), (other, np.arange(10))])]
    [0.45, 0.86]
    """
    means = np.array([float(hits.mean()) for hits, _ in shares])
    bounds = np.array([clustered_interval(*share, confidence) for share in shares])
    return _put_together(means, bounds, np.eye(len(means)))


def macro_f1_interval(
    labels: np.ndarray,
    called: np.ndarray,
    units: np.ndarray,
    classes: Sequence[int],
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of macro-F1, from the exact interval of each class's share of agreement.

    Of the rows that are of a class or called so, let J be the share that is both: F1 = 2 J / (1 + J),
    which rises with J, so the bounds of J are bounds of F1. An error lowers the F1 of two classes; the
    bounds are put together as Zou and Donner (2008) do with the correlations of the F1 over
    patients, taken for 0 where they are negative (our construction).

    Parameters
    ----------
    labels, called, units : numpy.ndarray
        N true and called classes, and unit numbers 0..U-1.
    classes : sequence of int
        The classes of the mean; each has a row that is of it or called so.
    confidence : float
        Of the interval.

    Examples
    --------
    >>> labels = np.repeat([0, 1], 20)
    >>> called = np.where(np.arange(40) % 5 == 0, 1 - labels, labels)
    >>> [round(end, 2) for end in macro_f1_interval(labels, called, np.arange(40), (0, 1))]
    [0.63, 0.91]
    """
    scores, bounds, parts = [], [], []
    for number in classes:
        true, said = labels == number, called == number
        either, both = true | said, true & said
        share = float(both[either].mean())
        score = 2 * share / (1 + share)
        ends = clustered_interval(both[either], units[either], confidence)
        scores.append(score)
        bounds.append([2 * end / (1 + end) for end in ends])
        # What each patient adds to the F1, to first order.
        slope = 2.0 * both - score * (true.astype(np.float64) + said)
        parts.append(np.bincount(units, slope))
    return _put_together(np.array(scores), np.array(bounds), _correlations(np.array(parts)))


def mean_precision_interval(
    parts: Sequence[tuple[float, int]], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of an average precision, or of the mean of several, on the logit.

    Boyd, Eng and Page (2013), "logit interval": the variance is that of a share of as many
    independent rows as there are positive ones; here of as many as there are patients with a
    positive row. Half a row is added to either side, so that a value of 1 has a variance
    too, and the variances of several classes add up (both our construction).

    Parameters
    ----------
    parts : sequence of (float, int)
        Average precision, and patients with a positive row.
    confidence : float
        Of the interval.

    Examples
    --------
    >>> [round(end, 2) for end in mean_precision_interval([(0.8, 25)])]
    [0.59, 0.91]
    """
    values, patients = (np.array(column, dtype=np.float64) for column in zip(*parts, strict=True))
    inner = (values * patients + 0.5) / (patients + 1)
    variance = float((inner * (1 - inner) / patients).sum()) / len(inner) ** 2
    centre = float(inner.mean())
    step = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) / (centre * (1 - centre))
    return float(expit(logit(centre) - step)), float(expit(logit(centre) + step))


def _put_together(
    values: np.ndarray, bounds: np.ndarray, correlations: np.ndarray
) -> tuple[float, float]:
    """Bounds (K x 2) of values with these correlations as those of their mean (Zou and Donner)."""
    below, above = (
        np.sqrt(np.maximum(side @ correlations @ side, 0.0)) / len(values)
        for side in (values - bounds[:, 0], bounds[:, 1] - values)
    )
    return float(values.mean() - below), float(values.mean() + above)


def _correlations(parts: np.ndarray) -> np.ndarray:
    """Correlations between rows of K x U, none below 0, and 0 where a row does not vary."""
    products = parts @ parts.T
    spread = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    found = np.divide(products, spread, out=np.zeros_like(products), where=spread > 0)
    np.fill_diagonal(found, 1.0)
    return np.clip(found, 0.0, 1.0)
