"""Logits of linear answers: one scale for all classes and a shift for each."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax


def fit_logits(
    answers: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the scale (> 0) and shifts (C) with which answers are the likeliest logits.

    Parameters
    ----------
    answers : numpy.ndarray
        N x C.
    labels : numpy.ndarray
        N, int in 0..C-1.
    weights : numpy.ndarray
        N, > 0, summing to 1.

    Examples
    --------
    >>> answers = np.eye(2)[[0, 0, 0, 1, 1, 0]]
    >>> scale, shifts = fit_logits(answers, np.array([0, 0, 0, 1, 1, 1]), np.full(6, 1 / 6))
    >>> scale > 1, abs(float(shifts.sum())) < 1e-9
    (True, True)
    """
    wide = answers.shape[1]
    truth = np.eye(wide)[labels]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scale, shifts = np.exp(values[0]), values[1:]
        logits = answers * scale + shifts
        # The least of penalties, so that classes that are told apart without fault stay finite.
        value = -weights @ log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
        error = (softmax(logits, axis=1) - truth) * weights[:, None]
        slope = np.concatenate([[(error * answers).sum() * scale], error.sum(axis=0)])
        return float(value + 1e-4 * values @ values), slope + 2e-4 * values

    start = np.zeros(wide + 1)
    start[0] = np.log(4.0)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(-2, 4)] + [(-20, 20)] * wide
    )
    shifts = found.x[1:] - found.x[1:].mean()
    return float(np.exp(found.x[0])), np.asarray(shifts)
