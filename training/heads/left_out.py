"""The probabilities of cases by a penalised linear head that was fitted to others."""

import numpy as np
from scipy.special import softmax

from offsite.training.heads import ridge
from offsite.training.heads.logits import fit_logits
from offsite.training.heads.sums import RowSums

_FOLDS = 5
_SMALLEST = 1e-6


def left_out_probabilities(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_classes: int, seed: int = 0
) -> np.ndarray:
    """Return N x C: each case's probabilities by a head fitted without its group.

    The head is ridge regression of the classes' indicators (`offsite.training.heads.sums`), in five
    folds of whole groups; the penalty is the one whose left-out answers give the lowest log loss
    once one scale and a shift for each class have made logits of them.

    Parameters
    ----------
    features : numpy.ndarray
        N x D.
    labels : numpy.ndarray
        N, int in 0..C-1.
    groups : numpy.ndarray
        N names; cases of one name are in one fold.
    n_classes : int
        C.
    seed : int
        Of the folds.

    Raises
    ------
    InputError
        Code ``too_few_patients``: fewer groups than folds.

    Examples
    --------
    >>> labels = np.arange(40) % 2
    >>> names = np.array([f"p{n}" for n in range(40)])
    >>> found = left_out_probabilities(labels[:, None] * 1.0, labels, names, 2)
    >>> bool((found.argmax(axis=1) == labels).all())
    True
    """
    rows = features.astype(np.float64)
    folds = ridge.folds_of(groups, np.full(len(rows), ""), _FOLDS, seed)
    share = np.full(len(rows), 1 / len(rows))
    parts = [
        RowSums.of(rows[folds == fold], labels[folds == fold], share[folds == fold], n_classes)
        for fold in range(_FOLDS)
    ]
    penalties = ridge.RidgeSettings().penalties
    answers = ridge.left_out_answers(parts, folds, rows, np.eye(n_classes), penalties)
    tried = [_probabilities(each, labels, share) for each in answers]
    return tried[int(np.argmin([losses_of(each, labels).mean() for each in tried]))]


def _probabilities(answers: np.ndarray, labels: np.ndarray, share: np.ndarray) -> np.ndarray:
    scale, shifts = fit_logits(answers, labels, share)
    return np.asarray(softmax(answers * scale + shifts, axis=1)).clip(_SMALLEST)


def losses_of(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return N: the log loss (nats) of each case's own label."""
    return np.asarray(-np.log(probabilities[np.arange(len(labels)), labels]))
