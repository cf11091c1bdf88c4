"""Thresholds from the training sites, carried to every site: what they yield there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.metrics.confusion import ratio
from offsite.evaluation.metrics.entries import measured_by
from offsite.evaluation.metrics.separation import why_undefined
from offsite.evaluation.metrics.thresholds import (
    AT_THRESHOLD,
    Outcomes,
    needed_threshold,
    outcomes,
    shares_at,
)
from offsite.evaluation.operating_points.by_fold import shifts_of
from offsite.evaluation.operating_points.choosing import (
    CHOSEN,
    PACKAGED,
    Threshold,
    choose_thresholds,
)
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import effective_counts, share_p_value
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import estimate
from offsite.evaluation.statistics.measured import Measured, reference_prevalences, share
from offsite.evaluation.statistics.resampling import generator_of, point_and_draws
from offsite.evaluation.statistics.sites import Site, Sites
from offsite.evaluation.tables.schemas import SCHEMAS
from offsite.evaluation.tables.summaries import MeasuredSite, worst_and_gap

_NEEDED = ("needed_threshold", "specificity_at_needed")
METRICS = (*AT_THRESHOLD, *measured_by("operating_points.table:measured_at"))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Carried:
    """A threshold of a task at a site."""

    site: Site
    task: Task
    threshold: Threshold
    reference: float | None
    shift: np.ndarray | None = None

    @cached_property
    def scores(self) -> np.ndarray:
        scores = self.task.scores(self.site.probabilities)
        return scores if self.shift is None else scores - self.shift

    @cached_property
    def positive(self) -> np.ndarray:
        return self.task.positive(self.site.labels)


def operating_point_table(
    sites: Sites,
    thresholds: list[Threshold] | None = None,
    metrics: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """A row per task, rule, site and metric.

    Parameters
    ----------
    sites : Sites
        Rows of all splits: thresholds come from validation rows of training sites, the numbers
        from test rows; tasks with wanted sensitivity, costs and reference prevalence; draws. Rows
        that a cross-validation tested are called by `offsite.evaluation.operating_points.by_fold`.
    thresholds : list of Threshold, optional
        Thresholds chosen earlier (those of a model package); unset: chosen here.
    metrics : sequence of str
        Those to give.
    """
    known = tasks_of(sites.predictions.classes, sites.settings)
    tasks = {task.name: task for task in known}
    references = reference_prevalences(sites.predictions, known)
    chosen = _chosen_rows(sites)
    records: list[dict[str, Any]] = []
    every = choose_thresholds(sites) if thresholds is None else thresholds
    shifts = shifts_of(sites, every) if thresholds is None else {}
    for threshold in every:
        task, of_rule = tasks[threshold.task], threshold.rule != "stated"
        reference = references.get(task.name)
        shift = shifts.get((threshold.task, threshold.rule))
        promise: dict[str, Measured] = {}
        found: list[MeasuredSite] = []
        for site in [*([chosen] if of_rule else []), *sites.shown]:
            own = None if shift is None or site is chosen else shift[site.index]
            carried = _Carried(
                site=site, task=task, threshold=threshold, reference=reference, shift=own
            )
            rows, measured = _site_rows(carried, promise, sites.settings, metrics)
            promise = measured if site is chosen else promise
            found.append((site, measured or None))
            records.extend(rows)
        if threshold.rule == PACKAGED and threshold.value is not None:
            records.extend(_summaries(threshold, sites, found))
    return SCHEMAS["operating_points"].frame(records)


def _summaries(
    threshold: Threshold, sites: Sites, found: list[MeasuredSite]
) -> Iterator[dict[str, Any]]:
    """The worst site and the gap at the threshold that ships."""
    for whole in sites.pools:
        inside = [pair for pair in found if pair[0] in sites.single and whole.covers(pair[0])]
        for metric in ("sensitivity", "specificity"):
            for row in worst_and_gap(metric, inside, sites.settings):
                yield _base(threshold) | {"site_role": whole.role, "metric": metric} | row


def _base(threshold: Threshold) -> dict[str, Any]:
    return {
        "task": threshold.task,
        "rule": threshold.rule,
        "target_sensitivity": threshold.target_sensitivity,
        "threshold": threshold.value,
        "chosen_n_positive": threshold.n_positive,
    }


def _chosen_rows(sites: Sites) -> Site:
    rows, settings = sites.validation, sites.settings
    generator = generator_of(settings.seed, CHOSEN)
    draws = point_and_draws(rows.units, rows.labels, settings.resamples, generator)
    return replace(rows, name=CHOSEN, draws=(draws,))


def _site_rows(
    carried: _Carried,
    promise: dict[str, Measured],
    settings: EvaluationSettings,
    metrics: Sequence[str],
) -> tuple[list[dict[str, Any]], dict[str, Measured]]:
    """The rows of one threshold at one site, and what was measured there."""
    site, threshold = carried.site, carried.threshold
    base = _base(threshold) | site.place
    reason = site.why_not(settings.minimum_rows)
    if reason is Reason.OK:
        reason = Reason(threshold.reason)
    if reason is Reason.OK and carried.shift is not None and np.isnan(carried.shift).any():
        reason = Reason.TOO_FEW  # without a fold's rows there is nothing to choose its threshold on
    if reason is not Reason.OK or threshold.value is None:
        nothing = Estimate(value=None, n=len(site), reason=reason)
        return [base | nothing.cells() | {"metric": metric} for metric in metrics], {}
    measured = {each.name: each for each in measured_at(carried, threshold.value, metrics)}
    p_values = _p_values(measured, promise, threshold.target_sensitivity)
    rows = []
    for metric in metrics:
        source = "sensitivity" if metric == "transfer_gap" else metric
        value = estimate(measured[source], site, settings)
        if metric == "transfer_gap":
            value = _transfer_gap(value, threshold.target_sensitivity)
        told = {"metric": metric, "p_value": p_values.get(metric)}
        rows.append(base | value.cells() | told)
    return rows, measured


def _p_values(
    measured: dict[str, Measured], promise: dict[str, Measured], target: float
) -> dict[str, float]:
    """How likely so little is by chance, where the threshold keeps what it promised."""
    found = {}
    for metric, name in (("transfer_gap", "sensitivity"), ("specificity", "specificity")):
        here, there = measured[name].share, promise[name].share if promise else None
        known, like = target if name == "sensitivity" else None, np.inf
        if there is not None and len(there[0]):
            like = effective_counts(*there)[1]
            known = float(there[0].mean()) if known is None else known
        if here is not None and len(here[0]) and known is not None:
            found[metric] = share_p_value(*here, known, like=like)
    return found


def _transfer_gap(sensitivity: Estimate, target: float) -> Estimate:
    """Target minus sensitivity, the interval turned round."""

    def under(value: float | None) -> float | None:
        return None if value is None else target - value

    low, high = under(sensitivity.high), under(sensitivity.low)
    return replace(sensitivity, value=under(sensitivity.value), low=low, high=high)


def measured_at(
    carried: _Carried, threshold: float, metrics: Sequence[str] = METRICS
) -> Iterator[Measured]:
    """What the threshold yields at the site, for the estimate and every draw.

    What takes long is left out where it is not among the metrics that are asked for.
    """
    site, positive = carried.site, carried.positive
    flagged = carried.scores >= threshold
    seen = outcomes(site, flagged, positive)
    yield from shares_at(site, flagged, positive)
    total = sum(seen)
    rate = (seen.caught + seen.alarms) / total
    yield share("flag_rate", rate, site, flagged, positive=int(positive.sum()))
    if not set(_NEEDED).isdisjoint(metrics):
        yield from _needed(carried)
    yield from _at_reference(carried, seen)
    settings = carried.task.settings
    missed, alarms = settings.cost_false_negative, settings.cost_false_positive
    cost = (missed * seen.missed + alarms * seen.alarms) / total
    yield _plain(carried, "expected_cost", cost)


def _needed(carried: _Carried) -> Iterator[Measured]:
    site, target = carried.site, carried.task.settings.target_sensitivity
    undefined = why_undefined(carried.positive, 1)
    if undefined is not None:
        nothing = np.full(len(site.counts), np.nan)
        yield from (_plain(carried, name, nothing, undefined) for name in _NEEDED)
        return
    both = needed_threshold(carried.scores, carried.positive, site.units, site.counts, target)
    yield from (_plain(carried, name, values) for name, values in zip(_NEEDED, both, strict=True))


def _at_reference(carried: _Carried, seen: Outcomes) -> Iterator[Measured]:
    """Predictive values and cost if the site had the reference prevalence (Bayes' rule)."""
    positive = np.nan if carried.reference is None else carried.reference
    sensitivity = ratio(seen.caught, seen.caught + seen.missed)
    specificity = ratio(seen.cleared, seen.cleared + seen.alarms)
    caught, missed = positive * sensitivity, positive * (1 - sensitivity)
    cleared, alarms = (1 - positive) * specificity, (1 - positive) * (1 - specificity)
    settings = carried.task.settings
    with np.errstate(invalid="ignore"):
        ppv, npv = caught / (caught + alarms), cleared / (cleared + missed)
    cost = settings.cost_false_negative * missed + settings.cost_false_positive * alarms
    undefined = why_undefined(carried.positive, 1) or Reason.TOO_FEW
    for name, values in (("ppv", ppv), ("npv", npv), ("expected_cost", cost)):
        yield _plain(carried, f"{name}_at_reference", values, undefined)


def _plain(
    carried: _Carried, name: str, values: np.ndarray, undefined: Reason = Reason.SINGLE_CLASS
) -> Measured:
    return Measured(
        name=name,
        values=values,
        n=len(carried.site),
        n_positive=int(carried.positive.sum()),
        undefined=undefined,
    )
