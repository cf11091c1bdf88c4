"""Exact intervals of a proportion, also where a patient gives several rows."""

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

    Korn and Graubard (1998): n is divided by the design effect, with their t correction, and
    never grows. Where all hits agree, the design effect is unknown and the number of clusters
    counts as n (our construction, on the careful side).

    Parameters
    ----------
    hits : numpy.ndarray
        N booleans or 0/1.
    clusters : numpy.ndarray
        N cluster (patient) names or numbers.
    """
    values = np.asarray(hits, dtype=np.float64)
    n, groups, mean = len(values), len(np.unique(clusters)), float(values.mean())
    size = _size(values, clusters)
    if groups < n and groups > 1 and mean not in (0.0, 1.0):
        tail = (1 - level) / 2
        size = size * (t.ppf(tail, n - 1) / t.ppf(tail, groups - 1)) ** 2
    size = min(float(n), size)
    return exact_interval(mean * size, size, level)


def effective_size(hits: np.ndarray, clusters: np.ndarray) -> float:
    """How many independent rows would tell as much: n over the design effect, at most n.

    Where all hits agree, the number of clusters; parameters as in :func:`clustered_interval`.
    """
    values = np.asarray(hits, dtype=np.float64)
    return min(float(len(values)), _size(values, clusters))


def _size(values: np.ndarray, clusters: np.ndarray) -> float:
    codes = np.unique(clusters, return_inverse=True)[1]
    n, groups, mean = len(values), int(codes.max()) + 1, float(values.mean())
    if groups == n:
        return float(n)
    if mean in (0.0, 1.0) or groups < 2:
        return float(groups)
    sums = np.bincount(codes, weights=values - mean)
    variance = groups / (groups - 1) * float((sums**2).sum()) / n**2
    return np.inf if variance == 0 else mean * (1 - mean) / variance
