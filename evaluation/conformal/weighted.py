"""Prediction sets for a site whose cases look different: calibration rows weighted to resemble it.

Transductive: the weights come from the site's unlabelled rows.
"""

import numpy as np

from offsite.evaluation.conformal.sets import PredictionSets, contiguous, nonconformity
from offsite.evaluation.predictions.roles import patient_folds
from offsite.evaluation.settings import ConformalSettings
from offsite.evaluation.shift.distances import principal_directions

_COMPONENTS = 32


def density_ratios(
    source: np.ndarray,
    target: np.ndarray,
    source_patients: np.ndarray,
    target_patients: np.ndarray,
    settings: ConformalSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Likelihood ratios target over source of all rows, from a cross-fitted domain classifier.

    Logistic regression on the leading 32 principal directions; a row is judged by a classifier
    that has not seen its patient (else small sites look further away than they are). Ratios are
    clipped to the settings' limit.

    Returns
    -------
    tuple of numpy.ndarray
        n ratios of the source rows and m of the target rows.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([source, target])
    rows = (rows - rows.mean(axis=0)) @ principal_directions(rows, _COMPONENTS)
    spread = rows.std(axis=0)
    rows = rows / np.where(spread > 0, spread, 1.0)
    is_target = np.arange(len(rows)) >= len(source)
    patients = np.concatenate([source_patients, target_patients])
    folds = patient_folds(patients, settings.folds, settings.seed)
    log_ratio = np.zeros(len(rows))
    for fold in np.unique(folds):
        left, kept = folds == fold, folds != fold
        n, m = (~is_target[kept]).sum(), is_target[kept].sum()
        if min(n, m) == 0:
            continue  # nothing to learn from: the ratio stays 1
        model = LogisticRegression(max_iter=200).fit(rows[kept], is_target[kept])
        log_ratio[left] = model.decision_function(rows[left]) + np.log(n / m)
    bound = np.log(settings.weight_limit)
    ratio = np.exp(np.clip(log_ratio, -bound, bound))
    return ratio[~is_target], ratio[is_target]


def effective_rows(weights: np.ndarray, target_weights: np.ndarray) -> float:
    """How many equal rows the weighted calibration rows are worth to the target; 0 for none.

    The lesser of ``(sum w)^2 / sum w^2`` (Kish 1965) and ``sum w / mean(target_weights)``. With true ratios
    the two agree; where the target lies apart, all calibration rows are equally foreign, the first
    would call each of them worth a whole row, and the second does not (our construction).

    Examples
    --------
    >>> even, uneven = np.ones(50), np.r_[np.ones(49), 50.0]
    >>> effective_rows(even, np.ones(5)) > effective_rows(uneven, np.ones(5))
    True
    """
    squares = float((weights**2).sum())
    if squares == 0 or len(target_weights) == 0:
        return 0.0
    total = float(weights.sum())
    return min(total**2 / squares, total / float(np.mean(target_weights)))


def weighted_thresholds(
    scores: np.ndarray, weights: np.ndarray, target_weights: np.ndarray, level: float
) -> np.ndarray:
    """Weighted conformal quantile for each target row (Tibshirani et al. 2019, equation 7).

    The least score s with ``sum of w over scores <= s`` at least ``level (sum w + target_weights)``; infinite
    where no score reaches it.

    Parameters
    ----------
    scores, weights : numpy.ndarray
        n scores of calibration rows and their weights.
    target_weights : numpy.ndarray
        m weights of the target rows.
    level : float
        Coverage.
    """
    order = np.argsort(scores, kind="stable")
    ordered = np.append(scores[order], np.inf)
    running = np.cumsum(weights[order])
    total = running[-1] if len(running) else 0.0
    wanted = level * (total + np.asarray(target_weights, dtype=np.float64))
    return ordered[np.searchsorted(running, wanted - 1e-12 * (1 + total), side="left")]


def weighted_sets(
    calibration: tuple[np.ndarray, np.ndarray, np.ndarray],
    target: tuple[np.ndarray, np.ndarray],
    level: float,
    settings: ConformalSettings,
) -> PredictionSets:
    """Sets for a site from weighted calibration rows, by class where the settings say so.

    Parameters
    ----------
    calibration : tuple
        Probabilities (n x C), labels (n, all known) and weights (n).
    target : tuple
        Probabilities (m x C) and weights (m) of the site's rows.
    level : float
        Coverage.
    settings : ConformalSettings
        Order and binning.

    Returns
    -------
    PredictionSets
        A class whose effective rows are fewer than ``1 / (1 - level)`` stays in every set.
    """
    probabilities, labels, weights = calibration
    target_probabilities, target_weights = target
    of_truth = nonconformity(probabilities, ordered=settings.ordered)[
        np.arange(len(labels)), labels
    ]
    scores = nonconformity(target_probabilities, ordered=settings.ordered)
    members = np.ones(scores.shape, dtype=bool)
    refer = np.zeros(len(scores), dtype=bool)
    effective = np.zeros(scores.shape[1])
    for label in range(scores.shape[1]):
        used = labels == label if settings.by_class else np.ones(len(labels), dtype=bool)
        effective[label] = effective_rows(weights[used], target_weights)
        if effective[label] < 1 / (1 - level):
            refer[:] = True
            continue
        limits = weighted_thresholds(of_truth[used], weights[used], target_weights, level)
        members[:, label] = scores[:, label] <= limits
        refer |= np.isinf(limits)
    counts = np.bincount(labels, minlength=scores.shape[1])
    used_of_each = counts if settings.by_class else np.full(len(counts), len(labels))
    return PredictionSets(
        members=contiguous(members) if settings.ordered else members,
        refer=refer,
        local=np.zeros(scores.shape, dtype=bool),
        bin_rows=np.tile(used_of_each, (len(scores), 1)),
        effective=effective,
    )
