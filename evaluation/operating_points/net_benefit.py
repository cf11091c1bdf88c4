"""Decision curves: is acting on the model better than acting on everyone, or on no one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.metrics.confusion import ratio
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.resampling import sums_by_unit, weighted_sums
from offsite.evaluation.statistics.sites import Site, Sites
from offsite.evaluation.tables.schemas import SCHEMAS


def decision_curve(
    scores: np.ndarray,
    positive: np.ndarray,
    units: np.ndarray,
    counts: np.ndarray,
    thresholds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Net benefit TP/n - FP/n * t/(1 - t) of acting at or over t (Vickers and Elkin 2006).

    Parameters
    ----------
    scores, positive, units : numpy.ndarray
        N probabilities, booleans and unit numbers.
    counts : numpy.ndarray
        B x units.
    thresholds : numpy.ndarray
        K probabilities strictly between 0 and 1.

    Returns
    -------
    tuple of numpy.ndarray
        Net benefit per image of the model and of acting on everyone, B x K each.
    """
    flagged = scores[:, None] >= thresholds
    columns = np.hstack(
        [
            flagged & positive[:, None],
            flagged & ~positive[:, None],
            positive[:, None],
            np.ones((len(scores), 1), dtype=bool),
        ]
    ).astype(np.float64)
    totals = weighted_sums(counts, sums_by_unit(units, columns, counts.shape[1]))
    size, odds = len(thresholds), thresholds / (1 - thresholds)
    n = totals[:, -1:]
    prevalence = ratio(totals[:, -2:-1], n)
    model = ratio(totals[:, :size], n) - ratio(totals[:, size : 2 * size], n) * odds
    return model, prevalence - (1 - prevalence) * odds


def net_benefit_table(sites: Sites) -> pd.DataFrame:
    """A row per task, site and threshold.

    The advantage is over the better of treating all and treating none as they stand at the
    site; the draws of all thresholds are the same.
    """
    records = [
        row
        for task in tasks_of(sites.predictions.classes, sites.settings)
        for site in sites.shown
        for row in _site_rows(site, task, sites)
    ]
    return SCHEMAS["net_benefit"].frame(records)


def _site_rows(site: Site, task: Task, sites: Sites) -> Iterator[dict[str, Any]]:
    scores, positive = task.scores(site.probabilities), task.positive(site.labels)
    counts = {"n": len(site), "n_positive": int(positive.sum()), "n_patients": site.n_patients}
    base = {"task": task.name} | site.place | counts
    thresholds = np.array(sites.settings.net_benefit_thresholds)
    reason = site.why_not(sites.settings.minimum_rows)
    if reason is not Reason.OK:
        yield from (base | {"threshold": value, "reason": reason.value} for value in thresholds)
        return
    model, treat_all = decision_curve(scores, positive, site.units, site.counts, thresholds)
    advantage = model - np.where(treat_all[0] > 0, treat_all, 0.0)
    for column, value in enumerate(thresholds):
        told = sites.of_draws(model[:, column], site.n_units)
        above = sites.of_draws(advantage[:, column], site.n_units)
        yield {
            **base,
            **told,
            "threshold": value,
            "net_benefit": told["value"],
            "treat_all": treat_all[0, column],
            "treat_none": 0.0,
            "advantage": above["value"],
            "advantage_low": above["low"],
            "advantage_high": above["high"],
        }
