"""What becomes of features and answers when the same tissue is shown by another site.

Rows come in pairs: ``first[i]`` and ``second[i]`` show one place of one tissue at two sites. Scores
are per row, so that pairs of sites can be pooled; `mean_over_tissues` gives their estimate.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from offsite.evaluation.ood.neighbour_detectors import unit
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import percentile_interval
from offsite.evaluation.statistics.resampling import patient_weights

_BLOCK = 1024


def standardised(features: np.ndarray) -> np.ndarray:
    """Columns (of N x D) to mean 0 and deviation 1 over all rows; constant ones to 0.

    Without it the cosine of two rows says how large their common mean is, whatever they show.
    """
    rows = np.asarray(features, dtype=np.float64)
    spread = rows.std(axis=0)
    return (rows - rows.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each pair, N in [-1, 1]: 1 where the site changes nothing.

    Examples
    --------
    >>> cosines(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])).round(3).tolist()
    [0.707]
    """
    return np.einsum("nd,nd->n", unit(first), unit(second))


def rank_retention(
    first: np.ndarray, second: np.ndarray, tissues: np.ndarray, neighbours: int = 10
) -> tuple[np.ndarray, float | None]:
    """Share of each tile's nearest neighbours that its twin has too.

    Neighbours are the most similar tiles (cosine) of *other* tissues at the same site, so that
    neither the tissue itself nor the day's staining of its slide can be what is kept.

    Parameters
    ----------
    first, second : numpy.ndarray
        N x D each.
    tissues : numpy.ndarray
        N names.
    neighbours : int
        k; fewer where a tile has fewer candidates.

    Returns
    -------
    retained : numpy.ndarray
        N in [0, 1], NaN for a tile without candidates.
    chance : float or None
        What unrelated features would give: the mean of k over the number of candidates.
    """
    codes = np.unique(tissues, return_inverse=True)[1]
    candidates = len(codes) - np.bincount(codes)[codes] if len(codes) else np.zeros(0, int)
    k = min(neighbours, int(candidates.min(initial=neighbours)))
    if k == 0:
        return np.full(len(codes), np.nan), None
    retained = np.empty(len(codes))
    originals, twins = unit(first), unit(second)
    for part in _blocks(len(codes)):
        same = codes[part, None] == codes[None]
        here, there = (_nearest(rows[part] @ rows.T, same, k) for rows in (originals, twins))
        retained[part] = (here & there).sum(axis=1) / k
    return retained, float((k / candidates).mean())


def retrieved(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Whether each tile's twin is the most similar of all tiles of both sites but itself.

    Other tissue of the same site competes: features that read the site find that first.

    Returns
    -------
    hits : numpy.ndarray
        N booleans; a tie is a miss.
    chance : float or None
        1 / (2 N - 1).
    """
    originals, twins = unit(first), unit(second)
    hits = np.zeros(len(originals), dtype=bool)
    for part in _blocks(len(originals)):
        rows = np.arange(len(originals))[part]
        within, across = originals[part] @ originals.T, originals[part] @ twins.T
        index = np.arange(len(rows))
        wanted = across[index, rows]
        within[index, rows] = across[index, rows] = -np.inf
        hits[part] = wanted > np.maximum(within.max(axis=1), across.max(axis=1)) + 1e-12
    return hits, 1 / (2 * len(originals) - 1) if len(originals) else None


def flips(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the predicted class of each pair differs, N booleans.

    Examples
    --------
    >>> flips(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.2, 0.8], [0.3, 0.7]])).tolist()
    [[True, True], [True, True]]
    """
    return np.asarray(first) != np.asarray(second)


def mean_over_tissues(
    scores: np.ndarray, tissues: np.ndarray, *, resamples: int = 500, seed: int = 0
) -> Estimate:
    """Mean of scores with a 95 % interval over tissues, all rows of which are drawn together.

    Booleans get the exact interval of a clustered share, other scores the expanded percentile
    interval of the cluster bootstrap; scores that are NaN are left out.

    Parameters
    ----------
    scores, tissues : numpy.ndarray
        N scores and names.
    resamples, seed : int
        Of the bootstrap.
    """
    defined = np.isfinite(np.asarray(scores, dtype=np.float64))
    scores, tissues = np.asarray(scores)[defined], np.asarray(tissues)[defined]
    units = len(np.unique(tissues))
    if not len(scores):
        return Estimate(value=None, reason=Reason.NO_SAMPLES)
    value = float(scores.mean())
    counts: dict[str, Any] = {"n": len(scores), "n_patients": units}
    if units < 2:
        return Estimate(value=value, reason=Reason.TOO_FEW, **counts)
    if scores.dtype == bool:
        low, high = clustered_interval(scores, tissues)
        return Estimate(value=value, low=low, high=high, **counts)
    generator = np.random.default_rng(seed)
    weights = patient_weights(tissues, resamples, generator).astype(np.float64)
    interval = percentile_interval((weights @ scores) / weights.sum(axis=1), units)
    if interval is None:
        return Estimate(value=value, reason=Reason.INTERVAL_UNSTABLE, **counts)
    return Estimate(
        value=value, low=min(interval[0], value), high=max(interval[1], value), **counts
    )


def _nearest(similarity: np.ndarray, excluded: np.ndarray, count: int) -> np.ndarray:
    """Which columns are among the ``count`` most similar of each row (b x N booleans)."""
    similarity = np.where(excluded, -np.inf, similarity)
    top = np.argpartition(similarity, -count, axis=1)[:, -count:]
    nearest = np.zeros(similarity.shape, dtype=bool)
    np.put_along_axis(nearest, top, True, axis=1)
    return nearest


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, rows, _BLOCK))
