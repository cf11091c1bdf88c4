"""Calibration slope and intercept with cluster-robust intervals, and Spiegelhalter's z."""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t

from offsite.evaluation.statistics.resampling import sums_by_unit

Fit = tuple[float, float, float, float]
_EDGE = 1e-6
_STEPS = 50


def slope_and_intercept(
    probabilities: np.ndarray, positive: np.ndarray, units: np.ndarray, confidence: float = 0.95
) -> dict[str, Fit | None]:
    """Logistic recalibration (Cox 1958; Van Calster et al. 2019), with a test of each.

    ``slope``: of logit(y) on logit(p), 1 when perfect, under 1 when over-confident.
    ``intercept``: with the slope held at 1 ("calibration in the large"), 0 when perfect, positive
    when risks are underestimated.

    Parameters
    ----------
    probabilities, positive, units : numpy.ndarray
        N probabilities (used within 1e-6 of 0 and 1), booleans, and unit numbers 0..U-1.
    confidence : float
        Of the intervals: sandwich variance by unit, Student's t with U - 1 degrees of freedom.

    Returns
    -------
    dict
        Value, low, high and p-value by name: of a slope under 1 (one-sided), of an intercept
        that is not 0. The tests have one degree of freedom less than the rarer side has units:
        with U - 1 they reject too often far out, where corrected alarms are. ``None`` where the fit does not exist (one class, or the classes are
        separated).
    """
    scores = logit(np.clip(probabilities, _EDGE, 1 - _EDGE))
    truth = positive.astype(np.float64)
    ones = np.ones((len(scores), 1))
    fits: dict[str, Fit | None] = {"slope": None, "intercept": None}
    if 0 < truth.sum() < len(truth) and units.max() > 0:
        both = np.column_stack([ones, scores])
        slope = _fitted(both, np.zeros(len(scores)), truth, units)
        offset = _fitted(ones, scores, truth, units)
        tail = t.ppf((1 + confidence) / 2, units.max())
        rarer = min(len(np.unique(units[side])) for side in (positive, ~positive))
        degrees = max(rarer - 1, 1)
        if slope is not None:
            value, error = slope
            below = t.cdf((value - 1) / error, degrees)
            fits["slope"] = value, value - tail * error, value + tail * error, float(below)
        if offset is not None:
            value, error = offset
            apart = 2 * t.sf(abs(value) / error, degrees)
            fits["intercept"] = value, value - tail * error, value + tail * error, float(apart)
    return fits


def _fitted(
    design: np.ndarray, offset: np.ndarray, truth: np.ndarray, units: np.ndarray
) -> tuple[float, float] | None:
    """Last coefficient of a logistic regression with its standard error, by Newton's method."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = expit(design @ coefficients + offset)
        information = (design * (chance * (1 - chance))[:, None]).T @ design
        gradient = design.T @ (truth - chance)
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, gradient)
        coefficients = coefficients + step * min(1.0, 5.0 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    else:
        return None
    number = int(units.max()) + 1
    sums = sums_by_unit(units, design * (truth - chance)[:, None], number)
    inverse = np.linalg.inv(information)
    variance = inverse @ (sums.T @ sums) @ inverse * number / (number - 1)
    return float(coefficients[-1]), float(np.sqrt(variance[-1, -1]))


def spiegelhalter_z(
    probabilities: np.ndarray, positive: np.ndarray, units: np.ndarray
) -> float | None:
    """Spiegelhalter's (1986) z of N probabilities, normal when they are true.

    z = sum (y - p)(1 - 2p) / sqrt(sum (1 - 2p)^2 p (1 - p)); where units have several rows the
    variance is that of the sums by unit. ``None`` where the variance is 0.
    """
    weights = 1 - 2 * probabilities
    terms = (positive - probabilities) * weights
    if int(units.max()) + 1 == len(units):
        variance = float((weights**2 * probabilities * (1 - probabilities)).sum())
    else:
        variance = float((np.bincount(units, terms) ** 2).sum())
    return float(terms.sum() / np.sqrt(variance)) if variance > 1e-300 else None
