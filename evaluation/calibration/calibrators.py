"""Calibrators fitted on the training sites' validation rows, and applied everywhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import Predictions

Kind = Literal["temperature", "vector", "platt", "site_platt"]
KINDS: tuple[Kind, ...] = ("temperature", "vector", "platt", "site_platt")
_FLOOR = 1e-12
_SITE_ROWS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibrator:
    """softmax(slope * logits + intercept), with a row of parameters for each site that has its own.

    Attributes
    ----------
    kind : str
        ``temperature``: one slope (Guo et al. 2017); ``vector``: slope and intercept for each
        class (vector scaling, the same paper); ``platt``: one slope and an intercept for each
        class, which for two classes is Platt's (1999) scaling; ``site_platt``: that, by site.
    sites : tuple of str
        Names of the parameter rows; the first, empty one is for every other site.
    slope, intercept : numpy.ndarray
        float64, rows x C.
    """

    kind: str
    sites: tuple[str, ...]
    slope: np.ndarray
    intercept: np.ndarray

    def apply(self, logits: np.ndarray, sites: np.ndarray | None = None) -> np.ndarray:
        """Probabilities, N x C, of N x C logits; ``sites`` (N names) chooses the rows."""
        rows = np.zeros(len(logits), dtype=np.int64)
        if sites is not None:
            row_of = {site: number for number, site in enumerate(self.sites)}
            rows = np.array([row_of.get(str(site), 0) for site in sites], dtype=np.int64)
        return softmax(self.slope[rows] * logits + self.intercept[rows], axis=1)


def logits_of(predictions: Predictions) -> np.ndarray:
    """The model's logits, or log probabilities, which softmax turns back into the same."""
    if predictions.logits is not None and np.isfinite(predictions.logits).all():
        return predictions.logits
    return np.log(np.maximum(predictions.probabilities, _FLOOR))


def fit_calibrators(
    predictions: Predictions, kinds: Iterable[Kind] = KINDS, rows: np.ndarray | None = None
) -> dict[str, Calibrator]:
    """The calibrators by name, from labelled validation rows of training sites.

    Empty where those rows are absent or of one class. ``rows`` (N booleans) are taken in their place
    where they are given.
    """
    rows = roles_of(predictions.table).calibrate if rows is None else rows
    rows = rows & (predictions.labels >= 0)
    labels = predictions.labels[rows]
    if len(np.unique(labels)) < 2:
        return {}
    logits = logits_of(predictions)[rows]
    sites = predictions.table["site"].to_numpy(dtype=str)[rows]
    return {kind: fit_calibrator(kind, logits, labels, sites) for kind in kinds}


def fit_calibrator(
    kind: Kind, logits: np.ndarray, labels: np.ndarray, sites: np.ndarray | None = None
) -> Calibrator:
    """Fit by penalised maximum likelihood.

    A normal prior of unit variance around "no change" (our construction) keeps the slope finite
    where the classes are separated and the intercept where a class is absent; its pull is that
    of about one row.

    Parameters
    ----------
    kind : str
        See :class:`Calibrator`.
    logits, labels : numpy.ndarray
        N x C, and N class indices.
    sites : numpy.ndarray, optional
        N names, for ``site_platt``: a site with 20 rows of two classes or more gets its own row.
    """
    shape = "platt" if kind == "site_platt" else kind
    rows = [("", *_fit(shape, logits, labels))]
    if kind == "site_platt" and sites is not None:
        for site in np.unique(sites):
            at_site = sites == site
            if at_site.sum() >= _SITE_ROWS and len(np.unique(labels[at_site])) > 1:
                rows.append((str(site), *_fit(shape, logits[at_site], labels[at_site])))
    return Calibrator(
        kind=kind,
        sites=tuple(site for site, _, _ in rows),
        slope=np.stack([slope for _, slope, _ in rows]),
        intercept=np.stack([intercept for _, _, intercept in rows]),
    )


def _fit(shape: str, logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of each class, C and C."""
    classes = logits.shape[1]
    slopes = classes if shape == "vector" else 1
    intercepts = 0 if shape == "temperature" else classes
    centred = logits - logits.mean(axis=1, keepdims=True)
    truth = np.eye(classes)[labels]
    start = np.concatenate([np.ones(slopes), np.zeros(intercepts)])

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope = np.broadcast_to(parameters[:slopes], (classes,))
        intercept = parameters[slopes:] if intercepts else np.zeros(classes)
        logs = log_softmax(slope * centred + intercept, axis=1)
        miss = np.exp(logs) - truth
        by_slope = (miss * centred).sum(axis=0)
        gradient = np.concatenate(
            [
                by_slope if slopes == classes else [by_slope.sum()],
                miss.sum(axis=0) if intercepts else [],
            ]
        )
        away = parameters - start
        return float(-(logs * truth).sum() + 0.5 * away @ away), gradient + away

    # A negative slope would turn the model's order round, which no calibration should do.
    bounds = [(1e-3, None)] * slopes + [(None, None)] * intercepts
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    slope = np.broadcast_to(result.x[:slopes], (classes,)).copy()
    return slope, result.x[slopes:].copy() if intercepts else np.zeros(classes)
