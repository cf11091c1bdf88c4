"""Scores of an epoch, by which weights are selected."""

import numpy as np
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score


def validation_scores(
    logits: np.ndarray, labels: np.ndarray, n_classes: int
) -> dict[str, float | None]:
    """Return the scores of one epoch on labelled bags.

    Parameters
    ----------
    logits : numpy.ndarray
        B x C.
    labels : numpy.ndarray
        B, int; >= 0.

    Returns
    -------
    dict of str to float or None
        ``loss`` (cross-entropy, each class present with the same weight, so that a rare class
        decides as much as a common one), ``balanced_accuracy``, ``macro_f1`` over the classes
        present, ``macro_auroc`` (one against the rest, over the classes that have both); None where
        undefined.
    """
    log_share = log_softmax(logits.astype(np.float64), axis=1)
    called = logits.argmax(axis=1)
    present = [c for c in range(n_classes) if (labels == c).any()]
    losses = [-log_share[labels == c, c].mean() for c in present]
    recalls = [(called[labels == c] == c).mean() for c in present]
    f1 = [
        2 * ((called == c) & (labels == c)).sum() / ((called == c).sum() + (labels == c).sum())
        for c in present
    ]
    aurocs = [roc_auc_score(labels == c, log_share[:, c]) for c in present if (labels != c).any()]
    return {
        "loss": float(np.mean(losses)) if losses else None,
        "balanced_accuracy": float(np.mean(recalls)) if recalls else None,
        "macro_f1": float(np.mean(f1)) if f1 else None,
        "macro_auroc": float(np.mean(aurocs)) if aurocs else None,
    }
