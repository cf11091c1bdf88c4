"""The class prior of a site without labels: EM, BBSE, and probabilities corrected by it.

What uses a site's unlabelled rows to estimate something is transductive, and marked so.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

_TINY, _SINGULAR = 1e-12, 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class BiasCorrectedTemperature:
    """``softmax(scale * log p + bias)``: the calibration that EM needs (Alexandari et al. 2020).

    Attributes
    ----------
    scale : float
        Positive; one over the temperature.
    bias : numpy.ndarray
        C, of sum 0.
    """

    scale: float
    bias: np.ndarray

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> "BiasCorrectedTemperature":
        """Least log loss on labelled rows, with a slight pull (one pseudo-row) to the identity."""
        logs = np.log(np.maximum(probabilities, _TINY))
        rows, classes = np.arange(len(labels)), logs.shape[1]
        truth = np.eye(classes)[labels]

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            scale = np.exp(theta[0])
            logits = scale * logs + theta[1:]
            value = -log_softmax(logits, axis=1)[rows, labels].sum() + 0.5 * (theta**2).sum()
            error = softmax(logits, axis=1) - truth
            gradient = np.r_[scale * (error * logs).sum(), error.sum(axis=0)] + theta
            return float(value) / len(rows), gradient / len(rows)

        theta = minimize(loss, np.zeros(classes + 1), jac=True, method="L-BFGS-B").x
        return cls(scale=float(np.exp(theta[0])), bias=theta[1:] - theta[1:].mean())

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, N x C."""
        logs = np.log(np.maximum(probabilities, _TINY))
        return softmax(self.scale * logs + self.bias, axis=1)


def em_prior(
    probabilities: np.ndarray,
    source_prior: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    iterations: int = 500,
    tolerance: float = 1e-6,
) -> np.ndarray:
    """Class prior of unlabelled rows by expectation maximisation (Saerens et al. 2002).

    ``q_c <- mean_x (q_c / pi_c) p_c(x) / sum_j (q_j / pi_j) p_j(x)`` from ``q = pi``; assumes that
    p is calibrated for the source and that only the prior has changed. Every two steps are
    followed by a leap along them (SQUAREM, Varadhan and Roland 2008), which comes to the same
    maximum in a tenth of the steps; draws that have arrived take no part any more.

    Parameters
    ----------
    probabilities : numpy.ndarray
        N x C, calibrated on the source.
    source_prior : numpy.ndarray
        pi, C, sum 1. A class the source lacks stays at 0.
    weights : numpy.ndarray, optional
        B x N, one estimate for each row of weights (bootstrap draws).

    Returns
    -------
    numpy.ndarray
        C, or B x C with weights; each sums to 1.

    Examples
    --------
    >>> answers = np.array([[0.8, 0.2]] * 12 + [[0.1, 0.9]] * 8)
    >>> em_prior(answers, np.array([0.5, 0.5])).round(2).tolist()
    [0.54, 0.46]
    """
    drawn = np.ones((1, len(probabilities))) if weights is None else np.asarray(weights, float)
    total = drawn.sum(axis=1, keepdims=True)
    known = source_prior > 0
    inverse = np.where(known, 1 / np.where(known, source_prior, 1), 0.0)

    def step(prior: np.ndarray, rows: np.ndarray) -> np.ndarray:
        ratio = prior * inverse
        evidence = np.maximum(ratio @ probabilities.T, _TINY)
        updated = ratio * ((drawn[rows] / evidence) @ probabilities) / total[rows]
        return updated / updated.sum(axis=1, keepdims=True)

    prior = np.tile(np.asarray(source_prior, dtype=np.float64), (len(drawn), 1))
    left = np.arange(len(drawn))
    for _ in range(iterations):
        once = step(prior[left], left)
        twice = step(once, left)
        first, second = once - prior[left], twice - once
        change = second - first
        norm = np.linalg.norm(change, axis=1)
        length = np.maximum(np.linalg.norm(first, axis=1) / np.maximum(norm, _TINY), 1.0)[:, None]
        ahead = prior[left] + 2 * length * first + length**2 * change
        # Where the leap leaves the simplex, the two plain steps stand.
        prior[left] = np.where((ahead < 0).any(axis=1, keepdims=True), twice, ahead)
        left = left[np.abs(second).max(axis=1) >= tolerance]
        if not len(left):
            break
    return prior[0] if weights is None else prior


def bbse_prior(
    source_predicted: np.ndarray,
    source_labels: np.ndarray,
    target_predicted: np.ndarray,
    classes: int,
) -> np.ndarray | None:
    """Class prior by black-box shift estimation (Lipton, Wang and Smola 2018).

    Solves ``C w = mu`` with ``C_ij = P_source(yhat = i, y = j)`` and ``mu_i = P_target(yhat = i)``,
    then ``q = w pi``, negative entries cut to 0.

    Returns
    -------
    numpy.ndarray or None
        C; ``None`` where the confusion matrix of the source's classes is singular (its smallest
        singular value under 0.001), so that the answer would be noise.

    Examples
    --------
    >>> called, true = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    >>> bbse_prior(called, true, np.array([0, 0, 0, 1]), classes=2).tolist()
    [0.75, 0.25]
    """
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (source_predicted, source_labels), 1 / len(source_labels))
    target = np.bincount(target_predicted, minlength=classes) / len(target_predicted)
    prior = confusion.sum(axis=0)
    seen = prior > 0
    if np.linalg.svd(confusion[:, seen], compute_uv=False)[-1] < _SINGULAR:
        return None
    ratio = np.zeros(classes)
    ratio[seen] = np.maximum(np.linalg.lstsq(confusion[:, seen], target, rcond=None)[0], 0)
    estimate = ratio * prior
    return None if estimate.sum() <= 0 else estimate / estimate.sum()


def prior_corrected(
    probabilities: np.ndarray, source_prior: np.ndarray, target_prior: np.ndarray
) -> np.ndarray:
    """Probabilities re-weighted from one prior to another: ``p_c q_c / pi_c``, normalised.

    Examples
    --------
    >>> prior_corrected(np.array([[0.5, 0.5]]), np.array([0.5, 0.5]), np.array([0.9, 0.1])).round(3).tolist()
    [[0.9, 0.1]]
    """
    known = source_prior > 0
    ratio = np.where(known, target_prior / np.where(known, source_prior, 1), 0.0)
    weighted = probabilities * ratio
    total = weighted.sum(axis=1, keepdims=True)
    # A row all of whose mass lies on classes the target lacks says nothing; it is left as it was.
    return np.where(total > 0, weighted / np.where(total > 0, total, 1), probabilities)


def total_variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Half the sum of absolute differences of distributions (..., C), 0..1.

    Examples
    --------
    >>> total_variation(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0.75, 0.25])).tolist()
    [0.25, 0.25]
    """
    return np.asarray(np.abs(first - second).sum(axis=-1) / 2)


def permuted_histograms(
    first: np.ndarray, second: np.ndarray, permutations: int, generator: np.random.Generator
) -> np.ndarray:
    """Class counts of the first sample, as they are and with its patients exchanged at random.

    Patients with the same rows of each class are alike, so a permutation is a draw of how many of
    each kind come to the first sample: the law of moving patients one by one, without the rows.

    Parameters
    ----------
    first, second : numpy.ndarray
        int, U x C and V x C: rows of each class by patient.

    Returns
    -------
    numpy.ndarray
        (1 + permutations) x C.
    """
    kinds, number = np.unique(np.concatenate([first, second]), axis=0, return_counts=True)
    drawn = generator.multivariate_hypergeometric(
        number, len(first), size=permutations, method="marginals"
    )
    return np.vstack([first.sum(axis=0), drawn @ kinds])


def histogram_statistics(first: np.ndarray, everyone: np.ndarray) -> np.ndarray:
    """Chi-square statistic of class by sample, for B x C counts of the first of two samples.

    With :func:`permuted_histograms` a permutation test of label shift (BBSE's test, with patients
    as the units); classes that nobody has (0 among ``everyone``, C) count nothing.
    """
    used = everyone > 0
    share = first.sum(axis=1, keepdims=True) / everyone.sum()
    expected = share * everyone[used]
    return ((first[:, used] - expected) ** 2 / (expected * (1 - share))).sum(axis=1)
