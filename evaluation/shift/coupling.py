"""Whether a model's answer goes with what tells its training sites apart."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from offsite.evaluation.predictions.roles import TRAINING
from offsite.evaluation.predictions.tasks import tasks_of
from offsite.evaluation.shift.shortcuts import left_out_scores, why_not
from offsite.evaluation.statistics.site import Site
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS

_LEADING = 64
_LEAST = 1e-6


def coupling_table(sites: Sites) -> pd.DataFrame:
    """Return, for each task and training site, the correlation within classes of two log-odds.

    One is the model's for the task; the other is that of a plain classifier, of the leading components
    of the embedding, for the image being from that site rather than another training site, by patients
    that were left out. 0: the answer does not ride on what tells the site. Test rows of training sites
    with a label; both log-odds are centred in each class, so that the sites' shares of the classes play
    no part. The interval is of patients, for the fitted classifiers as they are. Our construction.
    """
    return SCHEMAS["site_coupling"].frame(_rows(sites))


def _rows(sites: Sites) -> Iterator[dict[str, Any]]:
    predictions, rows = sites.predictions, sites.together(TRAINING)
    tasks = tasks_of(predictions.classes, sites.settings)
    names = sites.names[rows.index]
    if predictions.embeddings is None or len(np.unique(names)) < 2 or not tasks:
        return
    labels = rows.labels
    known = labels >= 0
    leading = _leading(np.asarray(predictions.embeddings[rows.index[known]], np.float64))
    for site in np.unique(names[known]):
        here, units = names[known] == site, rows.units[known]
        counted = {"site": site, "n": int(known.sum()), "n_patients": rows.patients_among(known)}
        lacking = why_not(here, units, np.ones(len(here), bool))
        told = left_out_scores(leading, here, units) if not lacking else None
        for task in tasks:
            found = {"task": task.name, **counted}
            if told is None:
                yield found | {"reason": lacking}
                continue
            scores = task.scores(predictions.probabilities[rows.index[known]])
            answer = logit(np.clip(scores, _LEAST, 1 - _LEAST))
            values = correlations(rows, known, labels[known], answer, told)
            if not np.isfinite(values[0]):
                yield found | {"reason": "constant_embeddings"}
                continue
            yield found | sites.of_draws(values, len(np.unique(units)))


def _leading(embeddings: np.ndarray) -> np.ndarray:
    """The rows on the components in which they vary most."""
    centred = embeddings - embeddings.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ axes[:_LEADING].T)


def correlations(
    rows: Site, known: np.ndarray, labels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return the correlation within classes of two numbers: as it is, then in each draw of patients.

    Parameters
    ----------
    rows : Site
        N rows.
    known : numpy.ndarray
        N booleans; K of them.
    labels, first, second : numpy.ndarray
        K each.
    """
    moments = np.stack(
        [np.ones_like(first), first, second, first**2, second**2, first * second], axis=1
    )
    classes = np.unique(labels)
    cells = np.zeros((len(rows), len(classes), 6))
    for number, label in enumerate(classes):
        cells[np.flatnonzero(known)[labels == label], number] = moments[labels == label]
    sums = rows.totals(cells.reshape(len(rows), -1)).reshape(-1, len(classes), 6)
    n, x, y, xx, yy, xy = np.moveaxis(sums, 2, 0)
    count = np.maximum(n, 1)
    together = (xy - x * y / count).sum(axis=1)
    both = (xx - x * x / count).sum(axis=1) * (yy - y * y / count).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(both > 1e-12, together / np.sqrt(np.maximum(both, 1e-300)), np.nan)
