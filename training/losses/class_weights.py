"""Weights of classes for a loss, from the number of training items."""

import numpy as np

from offsite.errors import InputError


def checked_counts(counts: np.ndarray) -> np.ndarray:
    """Return class counts as float64.

    Raises
    ------
    InputError
        Code ``empty_class``: a class has no training item.
    """
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 1 or len(n) == 0 or (n < 1).any():
        empty = ", ".join(str(c) for c in np.flatnonzero(n < 1))
        raise InputError(
            f"no training item of class number {empty or '(no class at all)'}",
            remedy="Remove the class from the configuration or add items of it",
            code="empty_class",
        )
    return n


def power_weights(counts: np.ndarray, exponent: float = 1.0) -> np.ndarray:
    """Return weights in proportion to n_c^-exponent: 1 = inverse frequency, 0 = equal.

    They have mean 1 over the training items, so the loss keeps its scale and the learning rate its
    meaning.

    Examples
    --------
    >>> power_weights(np.array([90, 10])).round(2).tolist()
    [0.56, 5.0]
    """
    n = checked_counts(counts)
    return _mean_one(n**-exponent, n)


def effective_number_weights(counts: np.ndarray, beta: float = 0.999) -> np.ndarray:
    """Return weights in proportion to (1 - beta) / (1 - beta^n_c), mean 1 over the items.

    Cui et al. 2019, arXiv 1901.05555, equation 2; they let the weights sum to C instead.

    Parameters
    ----------
    counts : array
        C, training items of each class.
    beta : float
        In [0, 1): 0 = equal weights, towards 1 = inverse frequency.

    Examples
    --------
    >>> effective_number_weights(np.array([900, 90, 10])).round(2).tolist()
    [0.47, 3.26, 28.17]
    """
    n = checked_counts(counts)
    return _mean_one((1 - beta) / -np.expm1(n * np.log(beta)) if beta > 0 else np.ones(len(n)), n)


def _mean_one(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return weights * counts.sum() / (weights * counts).sum()
