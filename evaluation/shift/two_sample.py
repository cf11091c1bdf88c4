"""Kernel two-sample tests: MMD and energy distance, whole patients permuted in one product."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

_AT_ONCE = 1000  # permutations whose assignments are held at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoSample:
    """Outcome of a permutation test.

    Attributes
    ----------
    statistic : float
        On the samples as they are.
    null : numpy.ndarray
        The statistic under each permutation of patients, those that are defined.
    p_value : float
        Share of permutations, the true one counted in, with a statistic at least as large.
    low, high : float or None
        Interval of the statistic, where the test has one.
    """

    statistic: float
    null: np.ndarray
    p_value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, statistics: np.ndarray) -> "TwoSample | None":
        """From statistics of which the first is the true one; ``None`` where that is undefined."""
        observed, null = float(statistics[0]), statistics[1:]
        null = null[np.isfinite(null)]
        if not np.isfinite(observed) or len(null) == 0:
            return None
        # A statistic equal to the observed one up to rounding is as large as it.
        beyond = (null >= observed - 1e-9 * max(1.0, abs(observed))).sum()
        return cls(statistic=observed, null=null, p_value=float((1 + beyond) / (1 + len(null))))

    def cells(self) -> dict[str, Any]:
        """Statistic, interval, null and p-value as cells of a row."""
        found = {"value": self.statistic, "low": self.low, "high": self.high}
        return found | {"null_high": self.null_high, "p_value": self.p_value}

    @property
    def null_high(self) -> float:
        """The 95 % quantile of the statistic without shift."""
        return float(np.quantile(self.null, 0.95))


def kernel_test(
    kernel: Callable[[np.ndarray], np.ndarray | None],
    first: np.ndarray,
    second: np.ndarray,
    first_patients: np.ndarray,
    second_patients: np.ndarray,
    *,
    permutations: int,
    generator: np.random.Generator,
    at_most: int | None = None,
) -> TwoSample | None:
    """``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``, tested by permuting whole patients.

    Means are over pairs of different patients, so that the estimate is unbiased.

    Parameters
    ----------
    kernel : callable
        Gives N x N kernel values of the pooled rows, or ``None`` where the features do not vary.
    first, second : numpy.ndarray
        n x D and m x D features.
    first_patients, second_patients : numpy.ndarray
        n and m names; rows of a patient are permuted together.
    permutations : int
        Random reassignments of patients.
    generator : numpy.random.Generator
        Source of the permutations.
    at_most : int, optional
        Go on to so many where none of them reaches the observed statistic, so that a p-value can
        be small enough for an alarm among many.

    Returns
    -------
    TwoSample or None
        ``None`` where a side has fewer than two patients, or the features do not vary.
    """
    values = kernel(np.concatenate([first, second]))
    if values is None:
        return None
    inside = np.arange(len(values)) < len(first)
    names = np.concatenate([first_patients, second_patients])
    codes = cluster_codes(inside, names)
    statistics, wanted = np.empty(0), permutations
    while len(statistics) < 1 + wanted:
        count = min(_AT_ONCE, wanted - max(len(statistics) - 1, 0))
        assignments = patient_assignments(inside, names, count, generator)
        found = kernel_statistics(values, codes, assignments)
        # Each batch has the true arrangement before its permutations.
        statistics = np.r_[statistics, found[min(len(statistics), 1) :]]
        if len(statistics) >= 1 + wanted and not (statistics[1:] >= statistics[0]).any():
            wanted = max(wanted, at_most or 0)
    return TwoSample.of(statistics)


def gaussian_kernel(rows: np.ndarray, bandwidth: float | None = None) -> np.ndarray | None:
    """``exp(-d^2 / (2 h^2))`` of N x D rows, N x N; h is their median distance where not given."""
    squared = squared_distances(rows)
    if bandwidth is None:
        bandwidth = float(np.sqrt(np.median(squared[np.triu_indices(len(squared), 1)])))
    return np.exp(squared / np.float32(-2 * bandwidth**2)) if bandwidth > 0 else None


def distance_kernel(rows: np.ndarray) -> np.ndarray:
    """``-d`` of N x D rows, N x N, in units of the features."""
    return -np.sqrt(squared_distances(rows))


mmd_test = partial(kernel_test, gaussian_kernel)
"""Unbiased squared maximum mean discrepancy (Gretton et al. 2012; their equation 3 where every
patient has one row)."""
energy_test = partial(kernel_test, distance_kernel)
"""Energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|`` (Szekely and Rizzo 2013)."""


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of N x D rows, N x N float32, non-negative."""
    centred = np.asarray(rows, dtype=np.float64)
    centred = (centred - centred.mean(axis=0)).astype(np.float32)
    norms = (centred**2).sum(axis=1)
    squared = norms[:, None] + norms[None] - 2 * (centred @ centred.T)
    np.fill_diagonal(squared, 0.0)
    return np.maximum(squared, 0.0)


def patient_assignments(
    first: np.ndarray, patients: np.ndarray, permutations: int, generator: np.random.Generator
) -> np.ndarray:
    """Which rows are in the first sample, N x (permutations + 1) booleans; column 0 is the truth.

    A patient's rows of one sample move together. The number of patients in the first sample is
    kept; that of rows is not, where patients have unequal numbers.
    """
    codes = cluster_codes(first, patients)
    count = int(codes.max()) + 1
    truth = np.zeros(count, dtype=bool)
    truth[codes] = first
    columns = np.tile(truth, (permutations + 1, 1))
    generator.permuted(columns[1:], axis=1, out=columns[1:])
    return columns.T[codes]


def cluster_codes(first: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """A number for each patient of each sample, N; a name in both samples counts as two."""
    codes = np.unique(patients, return_inverse=True)[1]
    return np.unique(2 * codes + first, return_inverse=True)[1]


def kernel_statistics(
    kernel: np.ndarray, clusters: np.ndarray, assignments: np.ndarray
) -> np.ndarray:
    """The two-sample statistic of every column of ``assignments``, by one matrix product.

    Parameters
    ----------
    kernel : numpy.ndarray
        N x N, symmetric; overwritten. Pairs within a cluster take no part.
    clusters : numpy.ndarray
        N cluster (patient) numbers; a column never splits a cluster.
    assignments : numpy.ndarray
        N x B booleans.

    Returns
    -------
    numpy.ndarray
        B float64; NaN where a side has no pair of different clusters.
    """
    same = clusters[:, None] == clusters[None]
    # Taking the mean off changes no statistic, and lets float32 sums keep their digits.
    np.copyto(kernel, 0.0, where=same)
    kernel -= kernel.sum(dtype=np.float64) / max(same.size - int(same.sum()), 1)
    np.copyto(kernel, 0.0, where=same)
    members = assignments.astype(np.float32)
    product = kernel.astype(np.float32, copy=False) @ members
    within_first = np.einsum("nb,nb->b", product, members, dtype=np.float64)
    rows = kernel.sum(axis=1, dtype=np.float64)
    across = rows @ members.astype(np.float64) - within_first
    within_second = rows.sum() - within_first - 2 * across
    partners = same.sum(axis=1) - 1.0
    n = members.sum(axis=0, dtype=np.float64)
    m = len(kernel) - n
    excluded = partners @ members
    first_pairs = n * (n - 1) - excluded
    second_pairs = m * (m - 1) - (partners.sum() - excluded)
    defined = (first_pairs > 0) & (second_pairs > 0)
    result = np.full(len(n), np.nan)
    result[defined] = (
        within_first[defined] / first_pairs[defined]
        + within_second[defined] / second_pairs[defined]
        - 2 * across[defined] / (n * m)[defined]
    )
    return result
