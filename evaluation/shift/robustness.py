"""The robustness index: whether neighbours in feature space share the class or the site."""

import numpy as np

from offsite.evaluation.metrics.confusion import ratio
from offsite.evaluation.ood.neighbour_detectors import unit
from offsite.evaluation.statistics.estimates import Estimate
from offsite.evaluation.statistics.intervals import percentile_interval

_BLOCK = 1024


def robustness_index(
    features: np.ndarray,
    labels: np.ndarray,
    sites: np.ndarray,
    patients: np.ndarray,
    *,
    weights: np.ndarray,
    neighbours: tuple[int, ...] = (5, 10, 20, 40),
    confidence: float = 0.95,
) -> Estimate | None:
    """``SO / (SO + OS)`` over the k nearest neighbours of each row (PathoROB, Kömen et al. 2025).

    SO counts neighbours of the same class from another site, OS those of another class from the
    same site; cosine similarity, rows of the same patient (or slide) left out. k is the one of
    ``neighbours`` with the best balanced accuracy of k-nearest-neighbour classification.

    Parameters
    ----------
    features : numpy.ndarray
        N x D.
    labels : numpy.ndarray
        N class indices, all known.
    sites, patients : numpy.ndarray
        N names each; ``patients`` may be slides, where the rows are tiles.
    weights : numpy.ndarray
        B x N: how often each row stands in each draw of patients.

    Returns
    -------
    Estimate or None
        1: informative neighbours share the class and come from other sites; 0: they share the site
        and not the class. The interval is over patients. ``None`` with fewer than two sites, fewer than two classes, or where no neighbour is of
        either kind.
    """
    site_codes = np.unique(sites, return_inverse=True)[1]
    patient_codes = np.unique(patients, return_inverse=True)[1]
    if len(features) == 0 or site_codes.max() == 0 or len(np.unique(labels)) < 2:
        return None
    nearest = _nearest(features, patient_codes, max(neighbours))
    near = nearest[:, : _best_count(nearest, labels, neighbours)]
    known = near >= 0
    same_class = labels[near] == labels[:, None]
    same_site = site_codes[near] == site_codes[:, None]
    so = (known & same_class & ~same_site).sum(axis=1).astype(np.float64)
    os = (known & ~same_class & same_site).sum(axis=1).astype(np.float64)
    if so.sum() + os.sum() == 0:
        return None
    units, value = int(patient_codes.max()) + 1, float(so.sum() / (so.sum() + os.sum()))
    draws = ratio(weights @ so, weights @ (so + os))
    low, high = percentile_interval(draws, units, confidence) or (None, None)
    return Estimate(value=value, low=low, high=high, n=len(labels), n_patients=units)


def _nearest(features: np.ndarray, patients: np.ndarray, count: int) -> np.ndarray:
    """Indices of the most similar rows of other patients, N x k, -1 where there are no more."""
    rows = unit(features).astype(np.float32)
    count = min(count, len(rows) - 1)
    nearest = np.empty((len(rows), count), dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        similarity = rows[part] @ rows.T
        similarity[patients[part, None] == patients[None]] = -np.inf
        top = np.argpartition(similarity, -count, axis=1)[:, -count:]
        values = np.take_along_axis(similarity, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        top, values = np.take_along_axis(top, order, 1), np.take_along_axis(values, order, 1)
        nearest[part] = np.where(np.isfinite(values), top, -1)
    return nearest


def _best_count(nearest: np.ndarray, labels: np.ndarray, candidates: tuple[int, ...]) -> int:
    classes = np.unique(labels)
    votes = (labels[nearest][:, :, None] == classes) & (nearest >= 0)[:, :, None]
    running = votes.cumsum(axis=1, dtype=np.int32)
    best, accuracy = 0, -1.0
    for count in sorted({min(count, nearest.shape[1]) for count in candidates}):
        predicted = classes[running[:, count - 1].argmax(axis=1)]
        recall = [float((predicted[labels == value] == value).mean()) for value in classes]
        if np.mean(recall) > accuracy:
            best, accuracy = count, float(np.mean(recall))
    return best
