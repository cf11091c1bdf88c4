"""Scores of grades on the validation photographs, by which weights are selected."""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from offsite.training.geometry import geometry, site_collapse, spread_within


def epoch_scores(
    logits: np.ndarray,
    embeddings: np.ndarray,
    stages: Sequence[np.ndarray],
    labels: np.ndarray,
    sites: np.ndarray,
    first: int = 0,
) -> dict[str, float | None]:
    """Return all that is noted of an epoch: scores, geometry, and that of the stages from ``first`` on."""
    return {
        **grading_scores(logits, labels),
        **geometry(embeddings, logits, labels, sites),
        **geometry_of_stages(stages, labels, sites, first=first),
    }


def grading_scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Return the scores of an epoch; None where one is undefined.

    Parameters
    ----------
    logits : numpy.ndarray
        N x C.
    labels : numpy.ndarray
        N, int; all >= 0.

    Returns
    -------
    dict
        ``loss`` (cross-entropy), ``kappa`` (quadratic weighted), ``auc`` (one class against one,
        mean over the pairs of classes that are there; Hand and Till 2001) and ``referable_auc``
        (grade >= 2, where there are more than two classes).
    """
    from sklearn.metrics import cohen_kappa_score, roc_auc_score

    wide = np.asarray(logits, np.float64)
    log_shares = wide - logsumexp(wide, axis=1, keepdims=True)
    n_classes = wide.shape[1]
    scores: dict[str, float | None] = {
        "loss": float(-log_shares[np.arange(len(labels)), labels].mean())
    }
    present = np.unique(labels)
    scores["kappa"] = (
        float(
            cohen_kappa_score(
                labels, wide.argmax(1), weights="quadratic", labels=np.arange(n_classes)
            )
        )
        if len(present) > 1
        else None
    )
    scores["auc"] = pairwise_auc(np.exp(log_shares), labels)
    referable = labels >= 2
    if n_classes > 2 and 0 < referable.sum() < len(labels):
        shares = np.exp(logsumexp(log_shares[:, 2:], axis=1))
        scores["referable_auc"] = float(roc_auc_score(referable, shares))
    else:
        scores["referable_auc"] = None
    return scores


def geometry_of_stages(
    stages: Sequence[np.ndarray], labels: np.ndarray, sites: np.ndarray, first: int = 0
) -> dict[str, float | None]:
    """Return how classes and sites gather stage by stage, 0 being the stem.

    Parameters
    ----------
    stages : sequence of numpy.ndarray
        N x K each: means of a stage's maps.
    labels, sites : numpy.ndarray
        N, int.
    first : int
        Number of the first one given: what is frozen is not looked at.

    Returns
    -------
    dict
        ``nc1_stage_<s>`` and ``site_collapse_stage_<s>``; see `offsite.training.geometry`.
    """
    found: dict[str, float | None] = {}
    for number, rows in enumerate(stages, start=first):
        found[f"nc1_stage_{number}"] = spread_within(rows, labels)
        found[f"site_collapse_stage_{number}"] = site_collapse(rows, labels, sites)
    return found


def pairwise_auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean AUC over pairs of present classes (Hand and Till 2001); None without a pair.

    For a pair (a, b) it is the mean of the AUC of the probability of a and that of b, among the
    photographs of the two. Unlike scikit-learn's it does not fail where a class is absent.

    Examples
    --------
    >>> pairwise_auc(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
    1.0
    """
    from scipy.stats import rankdata

    present = np.unique(labels)
    means = []
    for first in range(len(present)):
        for second in range(first + 1, len(present)):
            pair = []
            for one, other in ((first, second), (second, first)):
                a, b = labels == present[one], labels == present[other]
                ranks = rankdata(
                    np.concatenate([probabilities[a, present[one]], probabilities[b, present[one]]])
                )
                n_a, n_b = int(a.sum()), int(b.sum())
                pair.append((ranks[:n_a].sum() - n_a * (n_a + 1) / 2) / (n_a * n_b))
            means.append(np.mean(pair))
    return float(np.mean(means)) if means else None
