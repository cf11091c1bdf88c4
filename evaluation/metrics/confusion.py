"""Metrics of called classes, from confusion counts with any leading axes.

Counts are (..., C, C): rows are the true class, columns the called one. What a draw leaves
undefined is NaN here and never leaves the package so.
"""

import numpy as np


def cell_indicators(labels: np.ndarray, called: np.ndarray, classes: int) -> np.ndarray:
    """N x C*C zeros with a one at each row's (true, called) cell.

    Examples
    --------
    >>> cell_indicators(np.array([0, 1]), np.array([0, 0]), 2).tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    cells = np.zeros((len(labels), classes * classes))
    cells[np.arange(len(labels)), labels * classes + called] = 1.0
    return cells


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of rows on the diagonal.

    Examples
    --------
    >>> accuracy(np.array([[8, 2], [1, 9]])).item()
    0.85
    """
    return ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def sensitivities(counts: np.ndarray) -> np.ndarray:
    """Share of each true class that is called so, (..., C).

    Examples
    --------
    >>> sensitivities(np.array([[8, 2], [1, 9]])).tolist()
    [0.8, 0.9]
    """
    return ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1))


def balanced_accuracy(counts: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Mean sensitivity over the included classes (C booleans).

    Examples
    --------
    >>> balanced_accuracy(np.array([[8, 2], [1, 9]]), np.array([True, True])).round(3).item()
    0.85
    """
    return mean_over(sensitivities(counts), included)


def macro_f1(counts: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Mean over the included classes of 2 TP / (2 TP + FP + FN).

    Examples
    --------
    >>> macro_f1(np.array([[8, 2], [1, 9]]), np.array([True, True])).round(3).item()
    0.85
    """
    diagonal = np.diagonal(counts, axis1=-2, axis2=-1)
    true, called = counts.sum(axis=-1), counts.sum(axis=-2)
    scores = np.where(true > 0, ratio(2 * diagonal, true + called), np.nan)
    return mean_over(scores, included)


def weighted_kappa(counts: np.ndarray, power: int = 2) -> np.ndarray:
    """Cohen's kappa with weights |i - j|^power: 1 - sum(w O) / sum(w E).

    Undefined where all rows are of one true class: kappa is then 0 whatever the model does.

    Examples
    --------
    >>> weighted_kappa(np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5]])).item()
    1.0
    >>> weighted_kappa(np.array([[4, 1, 0], [1, 3, 1], [0, 1, 4]])).round(3).item()
    0.8
    """
    classes = counts.shape[-1]
    steps = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
    weights = steps**power
    true, called = counts.sum(axis=-1), counts.sum(axis=-2)
    total = counts.sum(axis=(-2, -1))
    observed = (counts * weights).sum(axis=(-2, -1))
    expected = ((true @ weights) * called).sum(axis=-1)
    kappa = 1.0 - ratio(observed * total, expected)
    return np.where((true > 0).sum(axis=-1) >= 2, kappa, np.nan)


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the bottom is 0.

    Examples
    --------
    >>> ratio(np.array([1, 2]), np.array([4, 0])).tolist()
    [0.25, nan]
    """
    top, bottom = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(bottom, np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def mean_over(values: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Mean over the included classes of (..., C); NaN where one of them is, or none is included."""
    if not included.any():
        return np.full(values.shape[:-1], np.nan)
    return values[..., included].mean(axis=-1)
