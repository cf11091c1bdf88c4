"""Can the site be told from the features? Classifier tests with patients kept together.

The classifier is ridge regression: its out-of-fold predictions are linear in the targets, so all
permutations of the null cost one product with the observed labels.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from offsite.evaluation.predictions.roles import patient_folds
from offsite.evaluation.shift.two_sample import TwoSample, cluster_codes, patient_assignments
from offsite.evaluation.statistics.delong import auroc_interval, placements


def classifier_test(
    first: np.ndarray,
    second: np.ndarray,
    first_patients: np.ndarray,
    second_patients: np.ndarray,
    *,
    permutations: int,
    folds: int = 5,
    ridge: float = 0.1,
    confidence: float = 0.95,
    seed: int = 0,
) -> TwoSample | None:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017), grouped by patient.

    Folds by image would measure how well a patient is recognised. The statistic is the AUROC of
    out-of-fold scores; its null permutes whole patients and refits (our construction).

    Parameters
    ----------
    first, second, first_patients, second_patients : numpy.ndarray
        As of :func:`offsite.evaluation.shift.two_sample.kernel_test`.
    permutations, folds, seed : int
        Of patients for the null, of patients, and of both.
    ridge : float
        Penalty as a share of the mean squared norm of the standardised features.
    confidence : float
        Of the interval.

    Returns
    -------
    TwoSample or None
        Of the out-of-fold AUROC (.5: no shift seen), with its interval over patients for the
        fitted classifiers; ``None`` where a side has fewer than two patients.
    """
    pooled = np.concatenate([first, second])
    inside = np.arange(len(pooled)) < len(first)
    patients = cluster_codes(inside, np.concatenate([first_patients, second_patients]))
    if min(len(np.unique(patients[side])) for side in (inside, ~inside)) < 2:
        return None
    generator = np.random.default_rng(seed)
    assignments = patient_assignments(inside, patients, permutations, generator)
    fold_of = patient_folds(patients, folds, seed)
    scores = out_of_fold(pooled, assignments.astype(np.float64), fold_of, ridge)
    test = TwoSample.of(_auroc_columns(scores, assignments))
    if test is None:
        return None
    low, high = auroc_interval(placements(scores[:, 0], inside, patients), confidence)
    return replace(test, low=low, high=high)


def site_predictability(
    features: np.ndarray,
    sites: np.ndarray,
    patients: np.ndarray,
    *,
    permutations: int,
    folds: int = 5,
    ridge: float = 0.1,
    seed: int = 0,
) -> TwoSample | None:
    """Balanced accuracy of the site told from features, patients kept together.

    One ridge regression for each site, the largest output decides; the null permutes sites over
    patients and refits. Chance is one over the number of sites.

    Parameters
    ----------
    features : numpy.ndarray
        N x D.
    sites, patients : numpy.ndarray
        N names each; a patient's rows of one site move together.
    permutations, folds, ridge, seed
        As in ``classifier_test``.

    Returns
    -------
    TwoSample or None
        ``None`` with fewer than two sites, or fewer patients than folds.
    """
    names, codes = np.unique(sites, return_inverse=True)
    joint = np.unique(patients, return_inverse=True)[1] * len(names) + codes
    units, first_rows, unit_of = np.unique(joint, return_index=True, return_inverse=True)
    if len(names) < 2 or len(units) < folds:
        return None
    generator = np.random.default_rng(seed)
    truth = codes[first_rows]
    columns = [truth, *(generator.permutation(truth) for _ in range(permutations))]
    assigned = np.stack(columns, axis=1)[unit_of]
    targets = assigned[:, :, None] == np.arange(len(names))
    fold_of = patient_folds(patients, folds, seed)
    flat = targets.reshape(len(features), -1).astype(np.float64)
    outputs = out_of_fold(features, flat, fold_of, ridge).reshape(targets.shape)
    right = outputs.argmax(axis=2) == assigned
    hits = (targets & right[:, :, None]).sum(axis=0)
    return TwoSample.of((hits / targets.sum(axis=0)).mean(axis=1))


def out_of_fold(
    features: np.ndarray, targets: np.ndarray, folds: np.ndarray, ridge: float
) -> np.ndarray:
    """Ridge predictions of N x T targets for rows outside the fold that is fitted, N x T.

    Features are standardised over all rows (no target is involved) and targets centred over all
    rows, so that the mean of a fold tells nothing about its left-out rows.
    """
    spread = features.std(axis=0)
    rows = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    centred = targets - targets.mean(axis=0)
    penalty = ridge * max(float((rows**2).sum()) / len(rows), 1e-12)
    masks = [folds == fold for fold in np.unique(folds)]
    if rows.shape[1] >= len(rows):
        return _by_rows(rows, centred, masks, penalty)
    return _by_features(rows, centred, masks, penalty)


def _by_features(
    rows: np.ndarray, targets: np.ndarray, masks: list[np.ndarray], penalty: float
) -> np.ndarray:
    """Normal equations; those of all other folds are the sum less the fold's own."""
    moments = [rows[left].T @ rows[left] for left in masks]
    products = [rows[left].T @ targets[left] for left in masks]
    all_moments, all_products = np.sum(moments, axis=0), np.sum(products, axis=0)
    predictions = np.empty_like(targets)
    for left, moment, product in zip(masks, moments, products, strict=True):
        solution = _solve(all_moments - moment, penalty, all_products - product)
        predictions[left] = rows[left] @ solution
    return predictions


def _by_rows(
    rows: np.ndarray, targets: np.ndarray, masks: list[np.ndarray], penalty: float
) -> np.ndarray:
    """The dual form, for more features than rows."""
    gram = rows @ rows.T
    predictions = np.empty_like(targets)
    for left in masks:
        solution = _solve(gram[np.ix_(~left, ~left)], penalty, targets[~left])
        predictions[left] = gram[np.ix_(left, ~left)] @ solution
    return predictions


def _solve(matrix: np.ndarray, penalty: float, right: np.ndarray) -> np.ndarray:
    matrix = matrix.copy()
    matrix[np.diag_indices_from(matrix)] += penalty
    return cho_solve(cho_factor(matrix, lower=True), right)


def _auroc_columns(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """AUROC of each column of N x B continuous scores by ranks; NaN without both classes."""
    order = np.argsort(scores, axis=0, kind="stable")
    ranked = np.take_along_axis(positive, order, axis=0)
    n = positive.sum(axis=0).astype(np.float64)
    m = len(positive) - n
    ranks = (np.arange(1, len(scores) + 1)[:, None] * ranked).sum(axis=0)
    pairs = np.where((n > 0) & (m > 0), n * m, np.nan)
    return (ranks - n * (n + 1) / 2) / pairs
