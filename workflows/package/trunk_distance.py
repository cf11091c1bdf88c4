"""How unlike the training images a case is by what the pretrained part sees of it."""

from collections.abc import Mapping

import numpy as np

from offsite.evaluation.ood.detector import ReferencedDetector
from offsite.evaluation.ood.gaussian_detectors import Mahalanobis
from offsite.evaluation.statistics.feature_stats import FeatureStats
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import RowSums

SCORES = "trunk_scores"
"""Prefix of the scores that a package's distances are read against."""
LEAST_ROWS = 10


def stats_of(sums: RowSums) -> FeatureStats:
    """Return counts, class means and scatter within classes of sums whose rows count one.

    Examples
    --------
    >>> stats = stats_of(RowSums.of(np.array([[1.0], [3.0]]), np.zeros(2, int), np.ones(2), 1))
    >>> stats.counts.tolist(), stats.means.tolist(), stats.within.round(6).tolist()
    ([2], [[2.0]], [[2.0]])
    """
    means = sums.sums / np.maximum(sums.weights, 1e-12)[:, None]
    between = means * np.sqrt(sums.weights)[:, None]
    counts = np.rint(sums.weights).astype(np.int64)
    return FeatureStats(counts=counts, means=means, within=sums.second - between.T @ between)


def trunk_detector(sums: SiteSums) -> Mahalanobis:
    """Return the distance to the nearest class mean by the shrunk covariance within classes.

    It is made of the sums whenever a package is opened, so a package keeps one copy of them.
    """
    return Mahalanobis.of(stats_of(sums.together()))


def reference_of(sums: SiteSums, unseen: np.ndarray) -> dict[str, np.ndarray]:
    """Return quantiles of the distances of rows that are not in the sums; none of too few rows.

    Parameters
    ----------
    unseen : numpy.ndarray
        N x T, of training sites.
    """
    if len(unseen) < LEAST_ROWS:
        return {}
    detector = trunk_detector(sums)
    return kept_scores(ReferencedDetector.of(detector, detector.score(unseen, np.empty((0, 0)))))


def kept_scores(referenced: ReferencedDetector) -> dict[str, np.ndarray]:
    """Return what a package keeps of the scores that a detector is read against."""
    return {
        "quantiles": referenced.quantiles,
        "threshold": np.array(referenced.threshold),
        "n": np.array(referenced.n),
    }


def referenced(sums: SiteSums, scores: Mapping[str, np.ndarray]) -> ReferencedDetector:
    """Return the detector of the sums with the scores that `reference_of` gave."""
    return ReferencedDetector(
        detector=trunk_detector(sums),
        quantiles=np.asarray(scores["quantiles"], dtype=np.float64),
        threshold=float(scores["threshold"]),
        n=int(scores["n"]),
    )
