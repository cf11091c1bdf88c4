"""Whether whitened instances suit the training bags better, told by a quick stand-in for the network.

The stand-in is a penalised linear classifier on what a bag's instances are like on average and at
their highest. It is fitted to some patients and judged on others, with whitened instances and
without. It trains in a second, where the network would take as long as the training itself for each
fold. Our construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

FOLDS = 5
PENALTIES = (0.01, 0.1, 1.0)
"""Inverse strengths (C); each way of reading has its best."""
LEAST_GAIN = 0.05
"""Share of its loss by which whitening has to be better than reading instances as they are."""
MOST_BAGS = 500
"""Bags that the stand-in looks at: more would take longer and hardly tell more."""
_HIGH = 0.9
_LEAST_SHARE = 1e-3  # a class that the fitted folds lack is given this much


@dataclass(frozen=True)
class Choice:
    """Whether instances are whitened, and why.

    Attributes
    ----------
    whitened : bool
    losses : dict of str to float
        Out-of-fold cross-entropy by way of reading (``none``, ``whitened``), each class with the
        same weight; empty where it could not be measured.
    reason : str
        In words.
    """

    whitened: bool
    losses: dict[str, float]
    reason: str


def enough_bags(labels: np.ndarray, most: int = MOST_BAGS) -> np.ndarray:
    """Return the numbers of at most ``most`` bags, of the largest classes fewer than there are.

    Examples
    --------
    >>> some = enough_bags(np.array([0] * 90 + [1] * 10 + [2] * 4), most=34)
    >>> np.bincount(np.array([0] * 90 + [1] * 10 + [2] * 4)[some]).tolist()
    [20, 10, 4]
    """
    order = np.random.default_rng(0).permutation(len(labels))
    before = np.empty(len(labels), np.int64)  # bags of its class that come before each
    for c in np.unique(labels):
        members = order[labels[order] == c]
        before[members] = np.arange(len(members))
    return np.sort(order[np.argsort(before[order], kind="stable")][:most])


def bag_statistics(bag: np.ndarray) -> np.ndarray:
    """Return mean and 90 % quantile of each number over a bag's instances (n x D): 2D."""
    return np.concatenate([bag.mean(axis=0), np.quantile(bag, _HIGH, axis=0)])


def choose(
    plain: np.ndarray, whitened: np.ndarray, labels: np.ndarray, patients: Sequence[str]
) -> Choice:
    """Choose whitening where it lowers the out-of-fold loss by `LEAST_GAIN`.

    Parameters
    ----------
    plain, whitened : numpy.ndarray
        `bag_statistics` of each training bag (a row), read either way.
    labels : numpy.ndarray
        B, its class.
    patients : sequence of str
        B; a patient is in one fold.
    """
    present = np.unique(labels)
    groups = np.unique(np.asarray(patients, str), return_inverse=True)[1]
    fewest = min(len(np.unique(groups[labels == c])) for c in present)
    if len(present) < 2 or fewest < 2:
        short = "there is one class" if len(present) < 2 else "a class has one training patient"
        return Choice(False, {}, f"{short}: nothing can be left out to judge by")
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    parts = list(folds.split(labels, labels, groups))
    losses = {
        "none": _loss(plain, labels, parts),
        "whitened": _loss(whitened, labels, parts),
    }
    better = losses["whitened"] < (1 - LEAST_GAIN) * losses["none"]
    return Choice(
        better,
        losses,
        f"a linear stand-in left out {len(parts)} folds of patients in turn; its loss on them is"
        f" {losses['whitened']:.3f} with whitened instances, {losses['none']:.3f} without"
        + ("" if better else f", and whitening has to lower it by {LEAST_GAIN:.0%}"),
    )


def _loss(
    rows: np.ndarray, labels: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]]
) -> float:
    """Return the lowest loss over the penalties, each class with the same weight."""
    moved = rows - rows.mean(axis=0)
    # Turned onto as many axes as there are bags: the penalty sees no difference, and it is quick.
    left, lengths, _ = np.linalg.svd(moved, full_matrices=False)
    turned = left * lengths / max(float(np.sqrt((moved**2).mean())), 1e-12)
    return min(_loss_at(penalty, turned, labels, parts) for penalty in PENALTIES)


def _loss_at(
    penalty: float,
    rows: np.ndarray,
    labels: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
) -> float:
    shares = np.full(len(labels), _LEAST_SHARE)
    for fitted, left_out in parts:
        model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=300)
        told = model.fit(rows[fitted], labels[fitted]).predict_proba(rows[left_out])
        for column, c in enumerate(model.classes_):
            of_class = labels[left_out] == c
            shares[left_out[of_class]] = told[of_class, column]
    losses = -np.log(np.maximum(shares, _LEAST_SHARE))
    return float(np.mean([losses[labels == c].mean() for c in np.unique(labels)]))
