"""Exact intervals and p-values of a proportion, also of clustered rows; p-values as one family."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, t


def exact_interval(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's (1934) interval of ``successes`` out of ``n`` > 0; neither need be whole.

    >>> low, high = exact_interval(0, 10)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.308)
    """
    tail = (1 - level) / 2
    low = beta.ppf(tail, successes, n - successes + 1) if successes > 0 else 0.0
    high = beta.ppf(1 - tail, successes + 1, n - successes) if successes < n else 1.0
    return float(low), float(high)


def clustered_interval(
    hits: np.ndarray, clusters: np.ndarray, level: float = 0.95
) -> tuple[float, float]:
    """Exact interval of the mean of ``hits`` at the effective sample size of the clusters.

    Parameters
    ----------
    hits : numpy.ndarray
        N > 0 booleans or 0/1.
    clusters : numpy.ndarray
        N cluster (patient) names or numbers.
    level : float
        Confidence.

    Examples
    --------
    >>> hits = np.array([1, 1, 1, 0, 1, 1, 0, 1])
    >>> [round(float(end), 2) for end in clustered_interval(hits, np.arange(8))]
    [0.35, 0.97]
    >>> [round(float(end), 2) for end in clustered_interval(hits, np.arange(8) // 2)]  # four patients
    [0.24, 0.99]
    """
    return exact_interval(*effective_counts(hits, clusters, level), level)


def share_p_value(
    hits: np.ndarray, clusters: np.ndarray, target: float, *, like: float = np.inf
) -> float:
    """Probability of so low a share, or a lower one, were the ``target`` true.

    Exact binomial at the effective sample size of the clusters.

    Parameters
    ----------
    hits, clusters : numpy.ndarray
        As of :func:`clustered_interval`.
    target : float
        What was promised, 0..1.
    like : float
        Cases that the promise itself was read from: a threshold that was set on few misses its
        target by chance, wherever it is used. The hits then count as the cases that make one
        over their number the sum of both (our construction: the variances add up).

    Examples
    --------
    >>> hits = np.arange(100) < 80
    >>> [round(share_p_value(hits, np.arange(100), 0.9, like=n), 3) for n in (np.inf, 100)]
    [0.002, 0.025]
    """
    successes, trials = effective_counts(hits, clusters)
    worth = trials / (1 + trials / like)
    return at_most(successes / trials * worth, worth, target)


def at_most(successes: float, trials: float, share: float) -> float:
    """P(at most so many successes), continued to numbers that are not whole by the Beta law.

    >>> round(at_most(2, 10, 0.5), 4)
    0.0547
    """
    if successes >= trials:
        return 1.0
    return 0.0 if successes < 0 else float(beta.sf(share, successes + 1, trials - successes))


def effective_counts(
    hits: np.ndarray, clusters: np.ndarray, level: float = 0.95
) -> tuple[float, float]:
    """Successes and trials worth as much as N rows that come in clusters; not whole numbers.

    Korn and Graubard (1998): n is divided by the design effect, with their t correction for
    ``level``, and never grows. Where all hits agree, the design effect is unknown and the number
    of clusters counts as n (our construction, on the careful side).
    """
    values = np.asarray(hits, dtype=np.float64)
    codes = np.unique(clusters, return_inverse=True)[1]
    n, groups = len(values), int(codes.max()) + 1
    mean = float(values.mean())
    if groups == n:
        return float(values.sum()), float(n)
    if mean in (0.0, 1.0) or groups < 2:
        return mean * groups, float(groups)
    sums = np.bincount(codes, weights=values - mean)
    variance = groups / (groups - 1) * (sums**2).sum() / n**2
    tail = (1 - level) / 2
    ratio = (t.ppf(tail, n - 1) / t.ppf(tail, groups - 1)) ** 2
    effective = float(n) if variance == 0 else min(n, mean * (1 - mean) / variance * ratio)
    return mean * effective, effective


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values after Holm's (1979) correction, in the order in which they came.

    The chance that any one is under a level where there is nothing to find is under that level,
    however the questions depend on each other.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.02, 0.001, 0.3, 0.012])]
    [0.04, 0.004, 0.3, 0.036]
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = least
    return adjusted
