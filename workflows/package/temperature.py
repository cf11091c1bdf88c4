"""Probabilities at a temperature; light, because every prediction needs it."""

import numpy as np


def tempered(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities, N x C, of logits divided by a temperature (Guo et al. 2017)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def log_of(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms that stand in for logits where a table has none."""
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
