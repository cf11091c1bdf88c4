"""The per-site table: every metric at every site, pooled, at the worst site, and the gap."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.metrics.catalogue import measure, metric_names
from offsite.evaluation.metrics.names import described
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.effects import effect_of
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import estimate
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.requests import request_of
from offsite.evaluation.statistics.sites import Site, Sites, groups_of, pooled
from offsite.evaluation.tables.schemas import SCHEMAS
from offsite.evaluation.tables.summaries import worst_and_gap


def per_site_table(sites: Sites, only: Iterable[str] | None = None) -> pd.DataFrame:
    """A row per site and metric of the test split.

    Parameters
    ----------
    sites : Sites
        Rows of all splits, of which the test rows are measured; tasks, draws, confidence, minima.
    only : iterable of str, optional
        The metrics to give; unset: all.

    Raises
    ------
    InputError
        A task does not fit the classes.
    """
    settings = sites.settings
    request = request_of(sites.predictions, settings, only)
    measured = [(site, measured_site(site, request, settings)) for site in sites.single]
    records: list[dict[str, Any]] = []
    for site, metrics in measured:
        records.extend(_site_rows(site, metrics, request, settings))
    for role, members in groups_of(sites.single):
        whole = pooled(role, members)
        metrics = measured_site(whole, request, settings)
        records.extend(_site_rows(whole, metrics, request, settings))
        pairs = [pair for pair in measured if pair[0] in members]
        for name in metric_names(request):
            for summary in worst_and_gap(name, pairs, settings):
                records.append(
                    _record(summary.name, role, name, summary.estimate, detail=summary.detail)
                    | {"sites_defined": summary.sites_defined, "sites": summary.sites}
                )
    return SCHEMAS["per_site"].frame(records)


def confusion_table(sites: Sites) -> pd.DataFrame:
    """Counts of true by called class, a row per site and pair of classes; test rows."""
    classes = sites.predictions.classes
    records = []
    for site in [*sites.single, *sites.pools]:
        called = site.sample.probabilities.argmax(axis=1)
        cells = site.sample.labels * len(classes) + called
        counts = np.bincount(cells, minlength=len(classes) ** 2).reshape(len(classes), -1)
        for true, row in zip(classes, counts, strict=True):
            for name, count in zip(classes, row, strict=True):
                records.append(
                    {
                        "site": site.name,
                        "site_role": site.role,
                        "true_class": true,
                        "predicted_class": name,
                        "count": int(count),
                        "share": count / row.sum() if row.sum() else None,
                    }
                )
    return SCHEMAS["confusion"].frame(records)


def measured_site(
    site: Site, request: Request, settings: EvaluationSettings
) -> dict[str, Measured] | None:
    """The site's metrics by name; ``None`` where it has too few labelled rows."""
    if site.why_not(settings.minimum_rows) is not Reason.OK:
        return None
    return {each.name: each for each in measure(site.sample, site.counts, request)}


def _site_rows(
    site: Site,
    measured: dict[str, Measured] | None,
    request: Request,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    if measured is None:
        n, patients = site.sample.n, site.sample.n_patients
        reason = site.why_not(settings.minimum_rows)
        nothing = Estimate(value=None, n=n, n_patients=patients, reason=reason)
        for name in metric_names(request):
            yield _record(site.name, site.role, name, nothing)
        return
    for name, each in measured.items():
        value = estimate(each, site.sample, settings)
        effect, error = effect_of(each, site.sample.n_units, described(name).scale) or (None, None)
        yield _record(site.name, site.role, name, value, detail=each.detail) | {
            "effect": effect,
            "effect_error": error,
        }


def _record(
    site: str, role: str, metric: str, value: Estimate, *, detail: str = ""
) -> dict[str, Any]:
    place = {"split": "test", "site": site, "site_role": role, "metric": metric}
    return place | value.cells() | {"detail": detail}
