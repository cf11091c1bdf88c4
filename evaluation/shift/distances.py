"""Distances between the Gaussians of two samples, from their ``FeatureStats`` alone."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigh, eigvalsh, solve

from offsite.evaluation.predictions.roles import patient_folds
from offsite.evaluation.statistics.feature_stats import FeatureStats, shrunk

Distance = Callable[[FeatureStats, FeatureStats], float]


def frechet_distance(first: FeatureStats, second: FeatureStats) -> float:
    """``||m1 - m2||^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` (Dowson and Landau 1982; FID).

    Covariances are OAS-shrunk. The trace of the root is taken as the sum of roots of the
    eigenvalues of ``L' S2 L`` with ``S1 = L L'``: several times faster than a matrix root. The
    distance of equal samples is not 0 for small n, so it is read against a null of equal n.
    """
    one, two = first.total_covariance(), second.total_covariance()
    root = _root(one)
    values = eigvalsh(root.T @ two @ root)
    trace = np.trace(one) + np.trace(two) - 2 * np.sqrt(np.maximum(values, 0)).sum()
    return float(((first.mean() - second.mean()) ** 2).sum() + max(trace, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
    """R with ``R R'`` the covariance, also where that is singular (features that do not vary)."""
    try:
        return np.asarray(cholesky(covariance, lower=True))
    except LinAlgError:
        values, vectors = eigh(covariance)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def coral_distance(first: FeatureStats, second: FeatureStats) -> float:
    """``||S1 - S2||_F^2 / (4 D^2)`` (Sun and Saenko 2016, equation 1), covariances OAS-shrunk."""
    gap = first.total_covariance() - second.total_covariance()
    return float((gap**2).sum() / (4 * first.dimensions**2))


def whitened_mean_distance(first: FeatureStats, second: FeatureStats) -> float:
    """``(m1 - m2)' S^-1 (m1 - m2)``, averaged over the classes both have (our construction).

    S is the pooled, OAS-shrunk covariance within classes and samples. With labels it is the shift
    of the class means, free of prevalence; statistics of one class give the plain mean shift.

    Raises
    ------
    ValueError
        The samples have no class in common, or do not vary.
    """
    common = np.intersect1d(first.present, second.present)
    if len(common) == 0:
        raise ValueError("the samples have no class in common")
    n = first.n + second.n
    covariance = shrunk((first.within + second.within) / n, n)
    if np.trace(covariance) <= 0:
        raise ValueError("the samples do not vary")
    gap = (first.means - second.means)[common]
    return float(np.einsum("cd,dc->c", gap, solve(covariance, gap.T, assume_a="pos")).mean())


def against_null(
    site: np.ndarray,
    reference: np.ndarray,
    reference_patients: np.ndarray,
    distances: dict[str, Distance],
    *,
    splits: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Distances of a site to halves of the reference, and of those halves to each other.

    For each of ``splits`` random halvings of the reference's patients, all samples are cut to one
    size, so that what small samples add to a distance is in the null as well.

    Parameters
    ----------
    site, reference : numpy.ndarray
        n x D and m x D features.
    reference_patients : numpy.ndarray
        m names; halves share no patient.
    distances : dict of str to function
        By name.
    splits : int
        Number of halvings.
    seed : int
        Of halvings and cuts.

    Returns
    -------
    dict of str to numpy.ndarray
        2 x splits for each name: site to half (first row), half to half (second row); NaN where
        a cut is too small or too uniform for the distance.
    """
    result = {name: np.empty((2, splits)) for name in distances}
    for split in range(splits):
        generator = np.random.default_rng([seed, split])
        half = patient_folds(reference_patients, 2, int(generator.integers(2**32)))
        parts = [reference[half == 0], reference[half == 1], site]
        size = min(len(part) for part in parts)
        one, two, rest = (
            FeatureStats.of(part[generator.permutation(len(part))[:size]], None, 1)
            for part in parts
        )
        for name, distance in distances.items():
            result[name][:, split] = [_or_nan(distance, other, one) for other in (rest, two)]
    return result


def _or_nan(distance: Distance, first: FeatureStats, second: FeatureStats) -> float:
    try:
        return distance(first, second)
    except ValueError:
        return float("nan")


def principal_directions(rows: np.ndarray, components: int) -> np.ndarray:
    """The leading principal directions of N x D rows, D x at most ``components``."""
    stats = FeatureStats.of(rows, None, 1)
    kept = min(components, max(stats.n - 1, 1), stats.dimensions)
    last = stats.dimensions - 1
    vectors = eigh(stats.within, subset_by_index=(last + 1 - kept, last))[1]
    return np.asarray(vectors[:, ::-1])
