"""Threshold, temperature and prior of a new site from its own cases, each with its 95 % interval.

Nothing here adapts a model.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from scipy.stats import binom, norm

from offsite.evaluation.shift.label_shift import em_prior
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import percentile_interval
from offsite.evaluation.statistics.resampling import patient_weights

_SEARCH = np.log(100.0)
_CONFIDENCE = 0.95


def local_threshold(scores: np.ndarray, positive: np.ndarray, sensitivity: float) -> Estimate:
    """Threshold of a wanted sensitivity from local cases, with a distribution-free interval.

    Its value is the highest threshold at which the wanted share of local positives is found, its
    interval that of the threshold which reaches it in the whole population; the lower end is the
    careful choice. An end is ``None`` where the cases do not bound it. Order statistics bound the
    quantile exactly (Conover 1999, section 3.2); one case a patient is assumed. Scores and booleans
    are N long; a case is positive at or over the threshold.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64)[positive])
    n, share, tail = len(ordered), 1 - sensitivity, (1 - _CONFIDENCE) / 2
    if n == 0:
        return Estimate(value=None, n_positive=0, reason=Reason.NO_SAMPLES)
    missed = int(np.floor(n * share + 1e-9))
    # Positives under the true quantile are binomial (n, share). The r-th smallest score lies over
    # it with P(X <= r - 1), under it with P(X >= r).
    under = int(binom.ppf(tail, n, share))
    over = int(binom.ppf(1 - tail, n, share)) + 1
    return Estimate(
        value=float(ordered[min(missed, n - 1)]),
        low=float(ordered[under - 1]) if under >= 1 else None,
        high=float(ordered[over - 1]) if over <= n else None,
        n=n,
        n_positive=n,
        reason=Reason.OK if under >= 1 and over <= n else Reason.INTERVAL_UNSTABLE,
    )


def local_temperature(logits: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> Estimate:
    """Temperature T that calibrates local cases best, ``softmax(l / T)``, with its interval.

    Maximum likelihood (Guo et al. 2017); the interval is Wald's on log T with the sandwich
    variance clustered by patient. Where the likelihood has no maximum (no local error, or nothing
    better than chance), or it lies beyond 0.01..100, the temperature is undefined.

    Parameters
    ----------
    logits : numpy.ndarray
        N x C; logarithms of probabilities will do.
    labels : numpy.ndarray
        N class indices; unlabelled rows (-1) are left out.
    patients : numpy.ndarray
        N names.
    """
    known = np.asarray(labels) >= 0
    values, truth = np.asarray(logits, dtype=np.float64)[known], np.asarray(labels)[known]
    codes = np.unique(np.asarray(patients)[known], return_inverse=True)[1]
    facts: dict[str, Any] = {"n": len(truth), "n_patients": len(np.unique(codes))}
    if len(truth) == 0:
        return Estimate(value=None, reason=Reason.NO_LABELS, **facts)
    if len(np.unique(truth)) < 2:
        return Estimate(value=None, reason=Reason.SINGLE_CLASS, **facts)
    of_truth = values[np.arange(len(truth)), truth]
    # No error: T falls to 0. No better than chance: T rises without end.
    if (of_truth >= values.max(axis=1)).all() or of_truth.sum() <= values.mean(axis=1).sum():
        return Estimate(value=None, reason=Reason.TOO_FEW, **facts)

    def loss(log_t: float) -> float:
        scale = np.exp(-log_t)
        return float((logsumexp(values * scale, axis=1) - of_truth * scale).sum())

    minimum = minimize_scalar(loss, bounds=(-_SEARCH, _SEARCH), method="bounded")
    log_t = float(minimum.x)
    if abs(log_t) > _SEARCH - 1e-2:
        return Estimate(value=None, reason=Reason.TOO_FEW, **facts)
    half = float(norm.ppf((1 + _CONFIDENCE) / 2)) * _log_sd(values * np.exp(-log_t), truth, codes)
    return Estimate(
        value=float(np.exp(log_t)),
        low=float(np.exp(log_t - half)),
        high=float(np.exp(log_t + half)),
        **facts,
    )


def _log_sd(scaled: np.ndarray, truth: np.ndarray, codes: np.ndarray) -> float:
    """Sandwich standard error of log T at its estimate, from logits over T; clusters by code."""
    p = softmax(scaled, axis=1)
    mean = (p * scaled).sum(axis=1)
    slope = np.bincount(codes, weights=scaled[np.arange(len(truth)), truth] - mean)
    curvature = (p * (scaled - mean[:, None]) ** 2).sum()
    return float(np.sqrt((slope**2).sum()) / curvature)


def local_prior(
    probabilities: np.ndarray,
    source_prior: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int = 500,
    seed: int = 0,
) -> list[Estimate]:
    """Class prior of unlabelled local cases by EM, an estimate for each class (transductive).

    It holds only where images of a class look as they did at the training sites; with the
    calibration rows at hand, ask ``offsite.evaluation.shift.label_shift_fit.SourceOutputs`` first.

    Parameters
    ----------
    probabilities : numpy.ndarray
        N x C, calibrated on the training sites.
    source_prior : numpy.ndarray
        C, their class frequencies.
    patients : numpy.ndarray
        N names.
    resamples, seed : int
        Bootstrap of patients.
    """
    units = len(np.unique(patients))
    facts: dict[str, Any] = {"n": len(probabilities), "n_patients": units}
    if len(probabilities) == 0:
        return [Estimate(value=None, reason=Reason.NO_SAMPLES, **facts) for _ in source_prior]
    point = em_prior(probabilities, source_prior)
    generator = np.random.default_rng(seed)
    draws = em_prior(probabilities, source_prior, patient_weights(patients, resamples, generator))
    result = []
    for label in range(len(source_prior)):
        interval = percentile_interval(draws[:, label], units)
        low, high = interval or (None, None)
        result.append(Estimate(value=float(point[label]), low=low, high=high, **facts))
    return result
