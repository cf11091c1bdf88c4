"""Whether embeddings go by class or by site: a map of them, and what is nearer in all dimensions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from offsite.evaluation.metrics.confusion import ratio
from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.site import Site
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS

MOST_DRAWN = 500
"""Test images on the map; of larger sites fewer than there are."""
MOST_COMPARED = 2000
"""Training images that test images are compared with; of larger classes fewer than there are."""
_LEAST = 3
_AT_ONCE = 1000


def embedding_tables(sites: Sites) -> dict[str, pd.DataFrame]:
    """Return ``embedding_map`` and ``embeddings``; where there is nothing to compare, why."""
    why = _why_not(sites)
    return {
        "embedding_map": SCHEMAS["embedding_map"].frame(_map(sites) if why == Reason.OK else ()),
        "embeddings": SCHEMAS["embeddings"].frame(_nearer(sites, why)),
    }


def enough(groups: np.ndarray, most: int) -> np.ndarray:
    """Return at most ``most`` rows in their order, of the largest groups fewer than there are.

    Examples
    --------
    >>> some = enough(np.array(["a"] * 90 + ["b"] * 4), most=10)
    >>> len(some), int((some >= 90).sum())
    (10, 4)
    """
    order = np.random.default_rng(0).permutation(len(groups))
    before = np.empty(len(groups), np.int64)  # rows of its group that come before each
    for name in np.unique(groups):
        members = order[groups[order] == name]
        before[members] = np.arange(len(members))
    return np.sort(order[np.argsort(before[order], kind="stable")][:most])


def plane(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centre (D), two principal axes (2 x D) and the share of variance along each (2).

    Of rows that vary along a line alone the second axis is 0. An axis points to where its largest
    number is positive, so that the map is the same on any machine.
    """
    centre = rows.mean(axis=0)
    lengths, axes = np.linalg.svd(rows - centre, full_matrices=False)[1:]
    shares = lengths**2 / (lengths**2).sum()
    both, along = np.zeros((2, rows.shape[1])), np.zeros(2)
    for number in range(min(2, len(axes))):
        if shares[number] > 1e-12:
            sign = np.sign(axes[number][np.abs(axes[number]).argmax()])
            both[number], along[number] = sign * axes[number], shares[number]
    return centre, both, along


def nearer(distances: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Return, for each row of distances (N x M), the share of pairs in which the like one is nearer.

    Parameters
    ----------
    alike : numpy.ndarray
        M booleans, some true and some not. Ties count half.

    Examples
    --------
    >>> nearer(np.array([[1.0, 2, 3], [3, 2, 1]]), np.array([True, False, False])).tolist()
    [1.0, 0.0]
    """
    like, other = int(alike.sum()), int((~alike).sum())
    ranks = rankdata(distances, axis=1)[:, alike].sum(axis=1)
    return 1 - (ranks - like * (like + 1) / 2) / (like * other)


def _why_not(sites: Sites) -> str:
    embeddings, fit = sites.predictions.embeddings, sites.roles.fit
    if embeddings is None:
        return "no_embeddings"
    if fit.sum() < _LEAST:
        return Reason.TOO_FEW if fit.any() else Reason.NO_SAMPLES
    return "constant_embeddings" if not np.ptp(embeddings[fit], axis=0).any() else Reason.OK


def _map(sites: Sites) -> Iterator[dict[str, Any]]:
    """A row for each test image that is drawn, site by site."""
    predictions, roles = sites.predictions, sites.roles
    assert predictions.embeddings is not None  # who asks has looked
    fit = np.flatnonzero(roles.fit)
    fit = fit[enough(predictions.labels[fit], MOST_COMPARED)]
    centre, axes, along = plane(np.asarray(predictions.embeddings[fit], np.float64))
    test = np.flatnonzero(roles.test)
    test = test[enough(sites.names[test], MOST_DRAWN)]
    placed = (np.asarray(predictions.embeddings[test], np.float64) - centre) @ axes.T
    order = np.lexsort((test, sites.names[test], roles.site_role[test] != TRAINING))
    for row, (x, y) in zip(test[order], placed[order], strict=True):
        label = predictions.labels[row]
        yield {
            "site": sites.names[row],
            "site_role": roles.site_role[row],
            "label": predictions.classes[label] if label >= 0 else "",
            "x": x,
            "y": y,
            "explained_x": along[0],
            "explained_y": along[1],
        }


def _nearer(sites: Sites, why: str) -> Iterator[dict[str, Any]]:
    """A row for each role, class and metric."""
    predictions = sites.predictions
    fit = np.flatnonzero(sites.roles.fit & (predictions.labels >= 0))
    fit = fit[enough(predictions.labels[fit], MOST_COMPARED)]
    for role in (TRAINING, HELD_OUT):
        rows = sites.together(role)
        if not len(rows):
            continue
        for number, label in enumerate(predictions.classes):
            of_class = predictions.labels[rows.index] == number
            place = {"label": label, "site_role": role, "n_reference": len(fit)}
            near = place | {"metric": "class_nearer"}
            if why != Reason.OK or not of_class.any():
                lacking = why if why != Reason.OK else Reason.NO_SAMPLES
                yield near | {"n": int(of_class.sum()), "reason": lacking}
                continue
            class_nearer, site_nearer = _shares(sites, rows.index[of_class], fit, number)
            yield near | _cells(sites, rows, of_class, class_nearer)
            if role == TRAINING:
                alike = int((predictions.labels[fit] == number).sum())
                near = place | {"metric": "site_nearer", "n_reference": alike}
                yield near | _cells(sites, rows, of_class, site_nearer)


def _shares(
    sites: Sites, index: np.ndarray, fit: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """For images of a class: how often their class, and in their class their site, is nearer."""
    embeddings = sites.predictions.embeddings
    assert embeddings is not None  # who asks has looked
    alike = sites.predictions.labels[fit] == number
    of_class, of_site = np.full(len(index), np.nan), np.full(len(index), np.nan)
    for start in range(0, len(index), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distances = cdist(embeddings[index[part]], embeddings[fit])
        if alike.any() and not alike.all():
            of_class[part] = nearer(distances, alike)
        within, names = distances[:, alike], sites.names[fit[alike]]
        for name in np.unique(sites.names[index[part]]):
            here, same = sites.names[index[part]] == name, names == name
            if same.any() and not same.all():
                of_site[np.arange(len(index))[part][here]] = nearer(within[here], same)
    return of_class, of_site


def _cells(sites: Sites, rows: Site, of_class: np.ndarray, shares: np.ndarray) -> dict[str, Any]:
    """Mean over the images that have a share, with its interval over patients."""
    values = np.full(len(rows), np.nan)
    values[of_class] = shares
    known = np.isfinite(values)
    found = {"n": int(known.sum()), "n_patients": rows.patients_among(known)}
    if not known.any():
        return {**found, "reason": Reason.NO_SAMPLES}
    sums = rows.totals(np.stack([np.where(known, values, 0), known], axis=1))
    units = len(np.unique(rows.units[known]))
    return found | sites.of_draws(ratio(sums[:, 0], sums[:, 1]), units)
