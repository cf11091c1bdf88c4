"""Probabilities at a temperature; light, because every prediction needs it."""

import numpy as np


def tempered(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities, N x C, of logits divided by a temperature (Guo et al. 2017).

    Examples
    --------
    >>> tempered(np.array([[2.0, 0.0]]), 1.0).round(3).tolist()
    [[0.881, 0.119]]
    >>> tempered(np.array([[2.0, 0.0]]), 2.0).round(3).tolist()
    [[0.731, 0.269]]
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def log_of(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms that stand in for logits where a table has none.

    Examples
    --------
    >>> log_of(np.array([[1.0, 0.5]])).round(3).tolist()
    [[0.0, -0.693]]
    """
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
