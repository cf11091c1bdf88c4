"""AUROC and both false-positive rates of a score, with a bootstrap of patients in one kernel."""

from dataclasses import dataclass

import numpy as np

from evaluation.resampling import draw_counts

_BLOCK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
    """How a score tells positives from negatives; arrays of B for B weightings.

    Attributes
    ----------
    auroc : numpy.ndarray
        Probability that a positive scores above a negative, ties half.
    fpr_ood_at_95_id_kept : numpy.ndarray
        The threshold keeps 95 % of negatives (in-distribution): share of positives kept with them.
        The convention of ODIN; deployable, for the threshold needs no positives.
    fpr_id_at_95_ood_caught : numpy.ndarray
        The threshold catches 95 % of positives: share of negatives flagged with them. The
        convention of OpenOOD and OpenMIBOOD.
    """

    auroc: np.ndarray
    fpr_ood_at_95_id_kept: np.ndarray
    fpr_id_at_95_ood_caught: np.ndarray


def separation(
    scores: np.ndarray,
    positive: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    share: float = 0.95,
) -> Separation:
    """Separation of positives (out of distribution, or wrong) from negatives.

    Parameters
    ----------
    scores : numpy.ndarray
        N, larger for positives.
    positive : numpy.ndarray
        N booleans.
    weights : numpy.ndarray, optional
        B x N non-negative whole weights, how often a resample holds each row; one row of ones
        by default. A weighting without negatives or without positives gives NaN.
    share : float
        The 95 % of the two rates.
    """
    if weights is None:
        weights = np.ones((1, len(scores)), dtype=np.float32)
    order = np.argsort(scores, kind="stable")
    ordered = np.asarray(scores)[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    mask = np.asarray(positive, dtype=bool)[order]
    columns = [
        _block(weights[start : start + _BLOCK][:, order], mask, starts, share)
        for start in range(0, len(weights), _BLOCK)
    ]
    auroc, kept, caught = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return Separation(auroc=auroc, fpr_ood_at_95_id_kept=kept, fpr_id_at_95_ood_caught=caught)


def _block(
    weights: np.ndarray, positive: np.ndarray, starts: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ood = _grouped(weights * positive, starts)
    inside = _grouped(weights * ~positive, starts)
    ood_to, inside_to = ood.cumsum(axis=1), inside.cumsum(axis=1)
    ood_all, inside_all = ood_to[:, -1], inside_to[:, -1]
    undefined = (ood_all == 0) | (inside_all == 0)
    ood_n, inside_n = np.where(undefined, np.nan, ood_all), np.where(undefined, np.nan, inside_all)
    below = inside_to - inside
    auroc = (ood * (below + 0.5 * inside)).sum(axis=1) / (ood_n * inside_n)
    rows = np.arange(len(weights))
    # Whole counts against a share: the small slack keeps 19 of 20 from missing 95 % by rounding.
    keep = (inside_to >= share * inside_all[:, None] - 1e-9).argmax(axis=1)
    kept = ood_to[rows, keep] / ood_n
    ood_from = ood_all[:, None] - (ood_to - ood)
    enough = ood_from >= share * ood_all[:, None] - 1e-9
    last = enough.shape[1] - 1 - enough[:, ::-1].argmax(axis=1)
    caught = (inside_all - below[rows, last]) / inside_n
    return auroc, kept, caught


def _grouped(weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    if len(starts) == weights.shape[1]:
        return weights.astype(np.float64)
    return np.add.reduceat(weights, starts, axis=1, dtype=np.float64)


def patient_weights(
    patients: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Bootstrap weights of rows, B x N float32: whole patients drawn with replacement."""
    names, codes = np.unique(patients, return_inverse=True)
    return draw_counts(len(names), resamples, generator).astype(np.float32)[:, codes]


def percentile_interval(
    draws: np.ndarray, *, level: float = 0.95, enough: float = 0.8
) -> tuple[float, float] | None:
    """Percentile interval of the finite draws, or ``None`` where too few are finite."""
    finite = draws[np.isfinite(draws)]
    if len(finite) < enough * len(draws):
        return None
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
