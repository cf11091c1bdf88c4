"""What a run's predictions say at each site, in the field's figures."""

import numpy as np
import pandas as pd

from offsite.retina.validation import pairwise_auc

REFERABLE = 2
VISION_THREATENING = 3
_WANTED_SENSITIVITY = 0.90

FIGURES = (
    "auc",
    "accuracy",
    "macro_f1",
    "kappa",
    "referable_auc",
    "vision_threatening_auc",
    "sensitivity",
    "specificity",
)


def site_results(predictions: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return the figures of each test site.

    ``auc`` (mean over pairs of grades), ``accuracy`` and ``macro_f1`` are GDRBench's; ``kappa`` is
    quadratic weighted; ``referable_auc`` is of grade >= 2, ``vision_threatening_auc`` of grade >= 3
    (of grades alone: without macular oedema they are not "more than mild" disease). ``sensitivity``
    and ``specificity`` are for referable grades at the threshold that reached 90 % sensitivity on
    the training sites' validation photographs.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As docs/architecture.md says; rows without a label are left out.
    classes : tuple of str
        In order of severity.

    Returns
    -------
    pandas.DataFrame
        ``site, site_role, n`` and the figures; NaN where one is undefined.
    """
    table = predictions[predictions["label"] != ""]
    threshold = training_threshold(table, classes)
    test = table[table["split"] == "test"]
    rows = []
    for (site, role), part in test.groupby(["site", "site_role"]):
        figures = _figures(part, classes, threshold)
        rows.append({"site": site, "site_role": role, "n": len(part), **figures})
    return pd.DataFrame(rows, columns=["site", "site_role", "n", *FIGURES])


def training_threshold(predictions: pd.DataFrame, classes: tuple[str, ...]) -> float | None:
    """Return the lowest score that 90 % of referable validation photographs reach; None without any.

    The score is the probability of a referable grade; the photographs are the training sites'.
    """
    val = predictions[(predictions["split"] == "val") & (predictions["site_role"] == "training")]
    probabilities, labels = _arrays(val, classes)
    scores = np.sort(probabilities[labels >= REFERABLE, REFERABLE:].sum(axis=1))
    if not len(scores):
        return None
    missed = int(np.floor((1 - _WANTED_SENSITIVITY) * len(scores) + 1e-9))
    return float(scores[missed])


def _arrays(table: pd.DataFrame, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    index = {name: number for number, name in enumerate(classes)}
    probabilities = table[[f"prob_{name}" for name in classes]].to_numpy(np.float64)
    return probabilities, table["label"].map(index).to_numpy(np.int64)


def _figures(
    part: pd.DataFrame, classes: tuple[str, ...], threshold: float | None
) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

    probabilities, labels = _arrays(part, classes)
    called = probabilities.argmax(axis=1)
    present = np.unique(labels)
    auc = pairwise_auc(probabilities, labels)
    referable = labels >= REFERABLE
    score = probabilities[:, REFERABLE:].sum(axis=1)
    above = score >= (np.inf if threshold is None else threshold)
    several = len(present) > 1
    return {
        "auc": np.nan if auc is None else auc,
        "accuracy": float(accuracy_score(labels, called)),
        "macro_f1": float(f1_score(labels, called, labels=present, average="macro")),
        "kappa": float(
            cohen_kappa_score(labels, called, weights="quadratic", labels=np.arange(len(classes)))
        )
        if several
        else np.nan,
        "referable_auc": _auc(score, referable),
        "vision_threatening_auc": _auc(
            probabilities[:, VISION_THREATENING:].sum(axis=1), labels >= VISION_THREATENING
        ),
        "sensitivity": _share(above[referable]) if threshold is not None else np.nan,
        "specificity": _share(~above[~referable]) if threshold is not None else np.nan,
    }


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    both = 0 < positive.sum() < len(positive)
    return float(roc_auc_score(positive, scores)) if both else np.nan


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
