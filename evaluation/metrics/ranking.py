"""AUROC and average precision for many draws at once."""

from dataclasses import dataclass

import numpy as np

from offsite.evaluation.statistics.resampling import blocks


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """One binary problem, sorted once.

    Attributes
    ----------
    units : numpy.ndarray
        Unit of each row, from the highest score to the lowest.
    positives : numpy.ndarray
        Places of the positive rows in that order.
    starts, ends : numpy.ndarray
        For each group of equal scores that holds a positive: its first place and one past its last.
    lasts : numpy.ndarray
        For each such group, the index (among the positives) of its last positive.
    """

    units: np.ndarray
    positives: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    lasts: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray, units: np.ndarray) -> "Ranking":
        """Sort N scores with N booleans and N unit numbers."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        new = np.r_[True, ranked[1:] != ranked[:-1]] if len(ranked) else np.zeros(0, dtype=bool)
        group = np.cumsum(new) - 1
        edges = np.r_[np.flatnonzero(new), len(ranked)]
        positives = np.flatnonzero(positive[order])
        of_positive = group[positives]
        last = np.r_[of_positive[1:] != of_positive[:-1], True] if len(positives) else new[:0]
        held = of_positive[last]
        return cls(
            units=units[order],
            positives=positives,
            starts=edges[held],
            ends=edges[held + 1],
            lasts=np.flatnonzero(last),
        )


def auroc_and_precision(
    ranking: Ranking, counts: np.ndarray, prevalence: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of each draw; NaN where a draw lacks one side.

    AUROC is the Mann-Whitney statistic with ties at one half; average precision is the sum over
    thresholds of the step in recall times the precision (scikit-learn's).

    Parameters
    ----------
    ranking : Ranking
        The sorted problem.
    counts : numpy.ndarray
        B x units, how often each unit is drawn.
    prevalence : float, optional
        Weight the positives to this share (0..1) when precision is taken; AUROC has no prevalence.

    Returns
    -------
    tuple of numpy.ndarray
        float64, B and B.
    """
    parts = [_block(ranking, block, prevalence) for block in blocks(counts, len(ranking.units))]
    if not parts:
        return np.empty(0), np.empty(0)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _block(
    ranking: Ranking, counts: np.ndarray, prevalence: float | None
) -> tuple[np.ndarray, np.ndarray]:
    if len(ranking.positives) == 0:
        nothing = np.full(len(counts), np.nan)
        return nothing, nothing.copy()
    drawn = counts.take(ranking.units, axis=1)
    everyone = np.cumsum(drawn, axis=1, dtype=np.int32)
    true = np.cumsum(drawn.take(ranking.positives, axis=1), axis=1, dtype=np.int32)
    positives = true[:, -1].astype(np.float64)
    negatives = everyone[:, -1] - positives
    caught = true if len(ranking.lasts) == true.shape[1] else true.take(ranking.lasts, axis=1)
    step = np.diff(caught, axis=1, prepend=0)
    called = everyone.take(ranking.ends - 1, axis=1)
    before = everyone.take(np.maximum(ranking.starts - 1, 0), axis=1)
    if ranking.starts[0] == 0:
        before[:, 0] = 0
    # Negatives over a group, and half of those tied with it, are lost to its positives.
    false = called - caught
    over = 2.0 * negatives[:, None] - false - (before - (caught - step))
    with np.errstate(divide="ignore", invalid="ignore"):
        auroc = np.einsum("bg,bg->b", step, over) / (2 * positives * negatives)
        precision = _precision(caught, false, called, positives, negatives, prevalence)
        average = np.einsum("bg,bg->b", step, precision) / positives
    return auroc, np.where(negatives > 0, average, np.nan)


def _precision(
    caught: np.ndarray,
    false: np.ndarray,
    called: np.ndarray,
    positives: np.ndarray,
    negatives: np.ndarray,
    prevalence: float | None,
) -> np.ndarray:
    """Precision at each group, float64; where nothing is called yet it is of no weight, and 0."""
    if prevalence is None:
        return caught / np.maximum(called, 1)
    recall = caught * (prevalence / positives)[:, None]
    alarms = false * ((1 - prevalence) / negatives)[:, None]
    return np.divide(recall, recall + alarms, out=np.zeros_like(recall), where=called > 0)
