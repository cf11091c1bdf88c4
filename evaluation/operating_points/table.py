"""Thresholds from the training sites, carried to every site: what they yield there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.metrics.separation import why_undefined
from offsite.evaluation.metrics.thresholds import (
    Outcomes,
    needed_threshold,
    outcomes,
    shares_at,
)
from offsite.evaluation.operating_points.choosing import Threshold, choose_thresholds
from offsite.evaluation.predictions.roles import TRAINING, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import estimate
from offsite.evaluation.statistics.measured import Measured, share
from offsite.evaluation.statistics.resampling import generator_of, sample_counts, with_point
from offsite.evaluation.statistics.samples import sample_of
from offsite.evaluation.statistics.sites import Site, Sites, reference_prevalences

COLUMNS = (
    "task",
    "rule",
    "target_sensitivity",
    "threshold",
    "chosen_n_positive",
    "site",
    "site_role",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "n_positive",
    "n_patients",
    "reason",
)
METRICS = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "flag_rate",
    "transfer_gap",
    "needed_threshold",
    "specificity_at_needed",
    "ppv_at_reference",
    "npv_at_reference",
    "expected_cost",
    "expected_cost_at_reference",
)
CHOSEN = "_chosen"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Carried:
    """A threshold of a task at a site."""

    site: Site
    task: Task
    threshold: float
    reference: float | None

    @property
    def scores(self) -> np.ndarray:
        return self.task.scores(self.site.sample.probabilities)

    @property
    def positive(self) -> np.ndarray:
        return self.task.positive(self.site.sample.labels)


def operating_point_table(sites: Sites, thresholds: list[Threshold] | None = None) -> pd.DataFrame:
    """A row per task, rule, site and metric; ``docs/evaluation/metrics.md`` has the columns.

    Parameters
    ----------
    sites : Sites
        Rows of all splits: thresholds come from validation rows of training sites, the numbers
        from test rows; tasks with wanted sensitivity, costs and reference prevalence; draws.
    thresholds : list of Threshold, optional
        Thresholds chosen earlier (those of a model package); unset: chosen here.
    """
    predictions, settings = sites.predictions, sites.settings
    tasks = {task.name: task for task in tasks_of(predictions.classes, settings)}
    references = reference_prevalences(predictions, list(tasks.values()))
    places = [_chosen_rows(predictions, settings), *sites.single, *sites.pools]
    carried = choose_thresholds(predictions, settings) if thresholds is None else thresholds
    records: list[dict[str, Any]] = []
    for threshold in carried:
        task = tasks[threshold.task]
        for site in places:
            if site.name != CHOSEN or threshold.rule != "stated":
                reference = references.get(task.name)
                records.extend(_site_rows(site, task, threshold, reference, settings))
    kinds = dict.fromkeys(("threshold", "value", "low", "high"), "float64")
    counts = dict.fromkeys(("n", "n_positive", "n_patients"), "Int64")
    return pd.DataFrame(records, columns=list(COLUMNS)).astype(kinds | counts)


def _chosen_rows(predictions: Predictions, settings: EvaluationSettings) -> Site:
    rows = predictions.select(roles_of(predictions.table).calibrate)
    sample = sample_of(rows, settings.unit)
    draws = sample_counts(sample, settings.resamples, generator_of(settings.seed, CHOSEN))
    return Site(
        name=CHOSEN, role=TRAINING, images=len(rows), sample=sample, counts=with_point(draws)
    )


def _site_rows(
    site: Site,
    task: Task,
    threshold: Threshold,
    reference: float | None,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    base = {
        "task": task.name,
        "rule": threshold.rule,
        "target_sensitivity": threshold.target_sensitivity,
        "threshold": threshold.value,
        "chosen_n_positive": threshold.n_positive,
        "site": site.name,
        "site_role": site.role,
    }
    reason = site.why_not(settings.minimum_rows)
    if reason is Reason.OK:
        reason = Reason(threshold.reason)
    if reason is not Reason.OK or threshold.value is None:
        for metric in METRICS:
            nothing = Estimate(value=None, n=site.sample.n, reason=reason)
            yield base | _numbers(metric, nothing)
        return
    carried = _Carried(site=site, task=task, threshold=threshold.value, reference=reference)
    measured = {each.name: each for each in _measured(carried)}
    for metric in METRICS:
        source = "sensitivity" if metric == "transfer_gap" else metric
        value = estimate(measured[source], site.sample, settings)
        if metric == "transfer_gap":
            value = _transfer_gap(value, threshold.target_sensitivity)
        yield base | _numbers(metric, value)


def _transfer_gap(sensitivity: Estimate, target: float) -> Estimate:
    """Target minus sensitivity, the interval turned round."""

    def under(value: float | None) -> float | None:
        return None if value is None else target - value

    return Estimate(
        value=under(sensitivity.value),
        low=under(sensitivity.high),
        high=under(sensitivity.low),
        n=sensitivity.n,
        n_positive=sensitivity.n_positive,
        n_patients=sensitivity.n_patients,
        reason=sensitivity.reason,
    )


def _measured(carried: _Carried) -> Iterator[Measured]:
    sample, counts = carried.site.sample, carried.site.counts
    flagged = carried.scores >= carried.threshold
    seen = outcomes(sample, counts, flagged, carried.positive)
    yield from shares_at(sample, counts, flagged, carried.positive)
    rate = (seen.caught + seen.alarms) / seen.total
    count = int(carried.positive.sum())
    yield share("flag_rate", rate, flagged, sample.units, positive=count)
    yield from _needed(carried)
    yield from _at_reference(carried, seen)
    settings = carried.task.settings
    missed, alarms = settings.cost_false_negative, settings.cost_false_positive
    cost = (missed * seen.missed + alarms * seen.alarms) / seen.total
    yield _plain(carried, "expected_cost", cost)


def _needed(carried: _Carried) -> Iterator[Measured]:
    names = ("needed_threshold", "specificity_at_needed")
    undefined = why_undefined(carried.positive, 1)
    if undefined is not None:
        nothing = np.full(len(carried.site.counts), np.nan)
        yield from (_plain(carried, name, nothing, undefined) for name in names)
        return
    both = needed_threshold(
        carried.scores,
        carried.positive,
        carried.site.sample.units,
        carried.site.counts,
        carried.task.settings.target_sensitivity,
    )
    yield from (_plain(carried, name, values) for name, values in zip(names, both, strict=True))


def _at_reference(carried: _Carried, seen: Outcomes) -> Iterator[Measured]:
    """Predictive values and cost if the site had the reference prevalence (Bayes' rule)."""
    share_positive = np.nan if carried.reference is None else carried.reference
    caught = share_positive * seen.sensitivity
    missed = share_positive * (1 - seen.sensitivity)
    cleared = (1 - share_positive) * seen.specificity
    alarms = (1 - share_positive) * (1 - seen.specificity)
    settings = carried.task.settings
    with np.errstate(invalid="ignore"):
        ppv, npv = caught / (caught + alarms), cleared / (cleared + missed)
    cost = settings.cost_false_negative * missed + settings.cost_false_positive * alarms
    undefined = why_undefined(carried.positive, 1) or Reason.TOO_FEW
    yield _plain(carried, "ppv_at_reference", ppv, undefined)
    yield _plain(carried, "npv_at_reference", npv, undefined)
    yield _plain(carried, "expected_cost_at_reference", cost, undefined)


def _plain(
    carried: _Carried, name: str, values: np.ndarray, undefined: Reason = Reason.SINGLE_CLASS
) -> Measured:
    return Measured(
        name=name,
        values=values,
        n=carried.site.sample.n,
        n_positive=int(carried.positive.sum()),
        undefined=undefined,
    )


def _numbers(metric: str, value: Estimate) -> dict[str, Any]:
    return {
        "metric": metric,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "n": value.n,
        "n_positive": value.n_positive,
        "n_patients": value.n_patients,
        "reason": value.reason.value,
    }
