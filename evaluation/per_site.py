"""The per-site table: every metric at every site, pooled, at the worst site, and the gap."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from evaluation.estimates import Estimate, Reason
from evaluation.intervals import estimate, percentile_interval
from evaluation.metrics.catalogue import Measured, Request, measure
from evaluation.predictions import Predictions
from evaluation.samples import Sample
from evaluation.settings import EvaluationSettings
from evaluation.sites import GAP, WORST, Site, groups_of, pooled, request_of, test_sites

COLUMNS = (
    "split",
    "site",
    "site_role",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "n_positive",
    "n_patients",
    "classes_defined",
    "classes",
    "sites_defined",
    "sites",
    "reason",
    "detail",
)
_COUNTS = ("n", "n_positive", "n_patients", "classes_defined", "classes", "sites_defined", "sites")


def per_site_table(predictions: Predictions, settings: EvaluationSettings) -> pd.DataFrame:
    """A row per site and metric of the test split; ``docs/evaluation/metrics.md`` has the columns.

    Parameters
    ----------
    predictions : Predictions
        Rows of all splits; only test rows are measured.
    settings : EvaluationSettings
        Tasks, draws, confidence, minima.

    Raises
    ------
    InputError
        A task does not fit the classes.
    """
    request = request_of(predictions, settings)
    sites = test_sites(predictions, settings)
    if not sites:
        return _frame([])
    measured = [_measure(site, request, settings) for site in sites]
    records: list[dict[str, Any]] = []
    for site, found in zip(sites, measured, strict=True):
        records.extend(_site_rows(site, found, request, settings))
    for role, members in groups_of(sites):
        whole = pooled(role, members)
        records.extend(_site_rows(whole, _measure(whole, request, settings), request, settings))
        own = [
            (site, found) for site, found in zip(sites, measured, strict=True) if site in members
        ]
        records.extend(_summary_rows(role, own, request, settings))
    return _frame(records)


def metric_names(request: Request) -> list[str]:
    """Names of all metrics of a request, in the order of the tables."""
    classes = len(request.classes)
    one_row = Sample(
        labels=np.zeros(1, dtype=np.int64),
        probabilities=np.full((1, classes), 1 / classes),
        units=np.zeros(1, dtype=np.int64),
        n_units=1,
    )
    return [found.name for found in measure(one_row, np.ones((1, 1), dtype=np.uint8), request)]


def _measure(
    site: Site, request: Request, settings: EvaluationSettings
) -> dict[str, Measured] | None:
    """The site's metrics by name; ``None`` where it has too few labelled rows."""
    if site.sample.n < settings.minimum_rows:
        return None
    return {found.name: found for found in measure(site.sample, site.counts, request)}


def _site_rows(
    site: Site,
    measured: dict[str, Measured] | None,
    request: Request,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    if measured is None:
        reason = _reason_of(site)
        nothing = Estimate(
            value=None, n=site.sample.n, n_patients=site.sample.n_units, reason=reason
        )
        for name in metric_names(request):
            yield _record(site.name, site.role, name, nothing)
        return
    for name, found in measured.items():
        value = estimate(found, site.sample.n_units, settings)
        yield _record(site.name, site.role, name, value, detail=found.detail)


def _reason_of(site: Site) -> Reason:
    if site.images == 0:
        return Reason.NO_SAMPLES
    return Reason.TOO_FEW if site.sample.n else Reason.NO_LABELS


def _summary_rows(
    role: str,
    measured: list[tuple[Site, dict[str, Measured] | None]],
    request: Request,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    for name in metric_names(request):
        found = [(site, own[name]) for site, own in measured if own is not None and name in own]
        if found and found[0][1].higher_is_better is None:
            continue
        defined = [(site, own) for site, own in found if np.isfinite(own.values[0])]
        counts = {"sites_defined": len(defined), "sites": len(measured)}
        if not defined:
            reason = Reason.TOO_FEW if found else _no_site_reason(measured)
            nothing = Estimate(value=None, reason=reason)
            yield _record(WORST, role, name, nothing, **counts)
            yield _record(GAP, role, name, nothing, **counts)
            continue
        yield from _worst_and_gap(role, name, defined, counts, settings)


def _no_site_reason(measured: list[tuple[Site, dict[str, Measured] | None]]) -> Reason:
    labelled = any(site.sample.n for site, _ in measured)
    return Reason.TOO_FEW if labelled else Reason.NO_LABELS


def _worst_and_gap(
    role: str,
    name: str,
    defined: list[tuple[Site, Measured]],
    counts: dict[str, int],
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    sign = 1.0 if defined[0][1].higher_is_better else -1.0
    values = sign * np.stack([own.values for _, own in defined], axis=1)
    low, high = values.min(axis=1), values.max(axis=1)
    worst, best = int(values[0].argmin()), int(values[0].argmax())
    site, own = defined[worst]
    facts = {
        "n": own.n,
        "n_positive": own.n_positive,
        "n_patients": site.sample.n_units,
        "classes_defined": own.classes_defined,
        "classes": own.classes,
    }
    yield _record(
        WORST, role, name, _of_draws(sign * low, facts, settings), detail=site.name, **counts
    )
    if len(defined) < 2:
        nothing = Estimate(value=None, reason=Reason.TOO_FEW)
        yield _record(GAP, role, name, nothing, **counts)
        return
    both = f"{defined[best][0].name} > {site.name}"
    spread = {"n": sum(own.n for _, own in defined)}
    yield _record(GAP, role, name, _of_draws(high - low, spread, settings), detail=both, **counts)


def _of_draws(values: np.ndarray, facts: dict[str, Any], settings: EvaluationSettings) -> Estimate:
    interval = percentile_interval(values[1:], settings.confidence, settings.minimum_defined)
    if interval is None:
        return Estimate(value=float(values[0]), reason=Reason.INTERVAL_UNSTABLE, **facts)
    return Estimate(value=float(values[0]), low=interval[0], high=interval[1], **facts)


def _record(
    site: str,
    role: str,
    metric: str,
    value: Estimate,
    *,
    detail: str = "",
    sites_defined: int | None = None,
    sites: int | None = None,
) -> dict[str, Any]:
    return {
        "split": "test",
        "site": site,
        "site_role": role,
        "metric": metric,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "n": value.n,
        "n_positive": value.n_positive,
        "n_patients": value.n_patients,
        "classes_defined": value.classes_defined,
        "classes": value.classes,
        "sites_defined": sites_defined,
        "sites": sites,
        "reason": value.reason.value,
        "detail": detail,
    }


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    kinds = dict.fromkeys(("value", "low", "high"), "float64") | dict.fromkeys(_COUNTS, "Int64")
    return frame.astype(kinds)
