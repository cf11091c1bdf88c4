"""How the embeddings of many items lie, plain and after training: by class, by site, in how many directions.

Measured on items as they are, neither mixed nor altered. On training items it speaks of the
optimisation, on validation items of what generalises; who calls says which.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

WEAK = 0.1
"""Class strength under which a class hardly exists for the classifier."""
FEWEST = 5
"""Items of a class in a split for its strength to be judged."""
_ACTIVE = 1e-3


def geometry(
    embeddings: np.ndarray, logits: np.ndarray, labels: np.ndarray, sites: np.ndarray
) -> dict[str, float | None]:
    """Return every measure by name; None where one is undefined.

    Parameters
    ----------
    embeddings : numpy.ndarray
        N x E, finite.
    logits : numpy.ndarray
        N x C.
    labels : numpy.ndarray
        N, int, >= 0.
    sites : numpy.ndarray
        N, of any kind that can be told apart.

    Returns
    -------
    dict
        ``nc1``, ``site_collapse``, ``effective_rank``, ``active_dimensions`` and
        ``class_strength_<c>`` for each class.
    """
    strengths = class_strength(logits, labels)
    return {
        "nc1": spread_within(embeddings, labels),
        "site_collapse": site_collapse(embeddings, labels, sites),
        **dimensions(embeddings),
        **{f"class_strength_{c}": value for c, value in enumerate(strengths)},
    }


def spread_within(rows: np.ndarray, groups: np.ndarray) -> float | None:
    """Return NC1: the spread within groups over that between their means; 0 = each group is a point.

    Within: the mean squared distance of an item from its group's mean, over items. Between: that of
    the groups' means from their own mean, each group counting once. NC1 of Papyan, Han & Donoho
    2020 (arXiv 2008.08186) with traces, as of `offsite.training.diagnostics.neural_collapse`.

    Examples
    --------
    >>> spread_within(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1]))
    0.04
    """
    within, between = _scatters(rows, groups)
    return within / between if between > 0 else None


def site_collapse(rows: np.ndarray, labels: np.ndarray, sites: np.ndarray) -> float | None:
    """Return NC1 with sites as groups, within classes: small where embeddings gather by site.

    Both scatters are summed over the classes that two sites or more have, a class by its items. Sites
    that differ in nothing give about the number of items of a site in a class.

    Examples
    --------
    >>> rows, labels = np.array([[0.0], [1], [8], [9]]), np.zeros(4, int)
    >>> site_collapse(rows, labels, np.array(["a", "a", "b", "b"]))
    0.015625
    >>> site_collapse(rows, labels, np.array(["a", "b", "a", "b"]))
    64.0
    """
    sums = np.zeros(2)
    for label in np.unique(labels):
        here = labels == label
        if len(np.unique(sites[here])) > 1:
            sums += here.sum() * np.array(_scatters(rows[here], sites[here]))
    return float(sums[0] / sums[1]) if sums[1] > 0 else None


def _scatters(rows: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    names, place = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return 0.0, 0.0
    wide = np.asarray(rows, np.float64)
    means = np.stack([wide[place == number].mean(axis=0) for number in range(len(names))])
    within = ((wide - means[place]) ** 2).sum(axis=1).mean()
    between = ((means - means.mean(axis=0)) ** 2).sum(axis=1).mean()
    return float(within), float(between)


def class_strength(logits: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """Return for each class how much its logit rises on its own items, the strongest class being 1.

    Of a linear classifier this is w_c . (m_c - mean) over the largest of them, w_c being a class's
    row, m_c the mean embedding of its items and the mean that of all m_c, each class counting once:
    the biases drop out. Near 0 the class hardly exists for the classifier. Of two classes whose
    logits are each other's opposite both are 1. None for a class without items, and for all where
    no logit rises. Our construction.

    Parameters
    ----------
    logits : numpy.ndarray
        N x C.
    labels : numpy.ndarray
        N, int in 0..C-1.

    Examples
    --------
    >>> logits = np.array([[4.0, 0, 0], [0, 4, 0], [0, 0, 1]])
    >>> class_strength(logits, np.array([0, 1, 2]))
    [1.0, 1.0, 0.25]
    """
    wide = np.asarray(logits, np.float64)
    present = np.unique(labels)
    if len(present) < 2:
        return [None] * wide.shape[1]
    means = np.stack([wide[labels == c].mean(axis=0) for c in present])
    rise = means[np.arange(len(present)), present] - means.mean(axis=0)[present]
    found: list[float | None] = [None] * wide.shape[1]
    if rise.max() > 0:
        for c, value in zip(present.tolist(), (rise / rise.max()).tolist(), strict=True):
            found[c] = value
    return found


def dimensions(rows: np.ndarray) -> dict[str, float | None]:
    """Return in how many directions rows vary: ``effective_rank`` and ``active_dimensions``.

    The effective rank is exp of the entropy of the covariance's eigenvalues as shares of their sum
    (Roy & Vetterli 2007); active are the coordinates whose variance exceeds a thousandth of the
    largest one's.

    Examples
    --------
    >>> found = dimensions(np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]))
    >>> round(found["effective_rank"], 6), found["active_dimensions"]
    (2.0, 2.0)
    """
    wide = np.asarray(rows, np.float64)
    centred = wide - wide.mean(axis=0) if len(wide) else wide
    variances = (centred**2).sum(axis=0)
    if not len(wide) or variances.max(initial=0) <= 0:
        return {"effective_rank": None, "active_dimensions": None}
    small = centred.T @ centred if centred.shape[1] <= len(centred) else centred @ centred.T
    values = np.clip(np.linalg.eigvalsh(small), 0, None)
    shares = values[values > 0] / values.sum()
    return {
        "effective_rank": float(np.exp(-(shares * np.log(shares)).sum())),
        "active_dimensions": float((variances > _ACTIVE * variances.max()).sum()),
    }


def geometry_of_splits(
    table: pd.DataFrame,
    embeddings: np.ndarray,
    logits: np.ndarray,
    classes: tuple[str, ...],
) -> dict[str, dict[str, Any]]:
    """Return `geometry` of the labelled ``train`` and ``val`` rows of a run's training sites.

    Parameters
    ----------
    table : pandas.DataFrame
        ``split, site, site_role, label``, a row for each of N items.
    embeddings, logits : numpy.ndarray
        N x E and N x C.

    Returns
    -------
    dict
        By split; ``class_strength`` and ``items`` are mappings by class name.
    """
    found = {}
    labelled = table["label"].isin(classes) & (table["site_role"] == "training")
    for split in ("train", "val"):
        rows = np.flatnonzero((labelled & (table["split"] == split)).to_numpy())
        if not len(rows):
            continue
        labels = pd.Categorical(table["label"].iloc[rows], categories=classes).codes
        sites = table["site"].to_numpy(str)[rows]
        measures: dict[str, Any] = geometry(embeddings[rows], logits[rows], labels, sites)
        strengths = [measures.pop(f"class_strength_{c}") for c in range(len(classes))]
        counts = np.bincount(labels, minlength=len(classes)).tolist()
        measures["class_strength"] = dict(zip(classes, strengths, strict=True))
        found[split] = {**measures, "items": dict(zip(classes, counts, strict=True))}
    return found


def weak_classes(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the classes whose strength is under `WEAK` in a split with `FEWEST` of it, and how low.

    Examples
    --------
    >>> weak_classes({"val": {"class_strength": {"a": 1.0, "b": 0.04}, "items": {"a": 9, "b": 6}}})
    {'b': 0.04}
    """
    seen: dict[str, float] = {}
    for measures in found.values():
        for name, value in measures["class_strength"].items():
            if value is not None and value < WEAK and measures["items"][name] >= FEWEST:
                seen[name] = min(value, seen.get(name, value))
    return seen


def weak_sentence(name: str, strength: float, items: int, of: Iterable[int]) -> str:
    """Return the warning of a weak class.

    Examples
    --------
    >>> weak_sentence("grade 4", 0.04, 12, [240, 12])
    "class 'grade 4' (12 of 252 training items) hardly exists for the classifier: on its own items its logit rises by 4 % of what that of the strongest class does"
    """
    return (
        f"class '{name}' ({items} of {sum(of)} training items) hardly exists for the classifier: on "
        f"its own items its logit rises by {max(strength, 0):.0%} of what that of the strongest class does"
    ).replace("%", " %")
