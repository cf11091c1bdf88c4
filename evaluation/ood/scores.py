"""Scores of logits alone, as pure functions. Larger is more out of distribution.

Shapes: ``logits`` is N x C (real); every function returns N float64.
"""

import numpy as np
from scipy.special import logsumexp, softmax


def msp(logits: np.ndarray) -> np.ndarray:
    """Minus the maximum softmax probability, ``-max_c p_c`` (Hendrycks and Gimpel 2017).

    Examples
    --------
    >>> msp(np.array([[4.0, 0.0], [0.1, 0.0]])).round(3).tolist()
    [-0.982, -0.525]
    """
    return -softmax(np.asarray(logits, dtype=np.float64), axis=1).max(axis=1)


def max_logit(logits: np.ndarray) -> np.ndarray:
    """Minus the maximum logit, ``-max_c l_c`` (Hendrycks et al. 2022).

    Examples
    --------
    >>> max_logit(np.array([[4.0, 0.0], [0.1, 0.0]])).tolist()
    [-4.0, -0.1]
    """
    return -np.asarray(logits, dtype=np.float64).max(axis=1)


def energy(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Free energy, ``-T log sum_c exp(l_c / T)`` (Liu et al. 2020, equation 4).

    Examples
    --------
    >>> energy(np.array([[4.0, 0.0], [0.1, 0.0]])).round(3).tolist()
    [-4.018, -0.744]
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return -temperature * logsumexp(scaled, axis=1)


def gen(logits: np.ndarray, power: float = 0.1) -> np.ndarray:
    """Generalised entropy, ``sum_c p_c^g (1 - p_c)^g`` over all classes (Liu et al. 2023, GEN).

    The paper keeps the largest M probabilities of many; with a handful of classes M is all.

    Examples
    --------
    >>> gen(np.array([[4.0, 0.0], [0.1, 0.0]])).round(3).tolist()
    [1.336, 1.741]
    """
    p = softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return ((p * (1 - p)) ** power).sum(axis=1)
