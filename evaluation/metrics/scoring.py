"""Scores of probabilities, row by row: their (weighted) means are the metrics."""

import numpy as np

_SMALLEST = np.finfo(np.float64).eps


def brier_rows(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Brier score of each row, float64, N.

    With two classes (p - y)^2 of the second class, 0 to 1; with more the sum of squares over
    classes, 0 to 2 (Brier 1950).

    Examples
    --------
    >>> brier_rows(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0])).round(3).tolist()
    [0.04, 0.36]
    """
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(labels)), labels] = 1.0
    scores = ((probabilities - truth) ** 2).sum(axis=1)
    return scores / 2 if probabilities.shape[1] == 2 else scores


def log_loss_rows(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log p(true class) of each row, N, in nats; probabilities count as at least 2.2e-16.

    Examples
    --------
    >>> log_loss_rows(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0])).round(3).tolist()
    [0.223, 0.916]
    """
    of_truth = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(of_truth, _SMALLEST))
