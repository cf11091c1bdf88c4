"""The per-site table: every metric at every site, pooled, at the worst site, and the gap."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.metrics.catalogue import measure, metric_names
from offsite.evaluation.metrics.names import described
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import effect_of, estimate
from offsite.evaluation.statistics.measured import Measured, Request, request_of
from offsite.evaluation.statistics.sites import Site, Sites
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
    records = [row for pair in measured for row in _site_rows(*pair, request, settings)]
    for whole in sites.pools:
        records += _site_rows(whole, measured_site(whole, request, settings), request, settings)
        inside = [pair for pair in measured if whole.covers(pair[0])]
        for name in metric_names(request):
            for row in worst_and_gap(name, inside, settings):
                records.append({"split": "test", "site_role": whole.role, "metric": name} | row)
    return SCHEMAS["per_site"].frame(records)


def confusion_table(sites: Sites) -> pd.DataFrame:
    """Counts of true by called class, a row per site and pair of classes; test rows."""
    classes = sites.predictions.classes
    records = []
    for site in sites.shown:
        called = site.probabilities.argmax(axis=1)
        counts = np.bincount(site.labels * len(classes) + called, minlength=len(classes) ** 2)
        for true, row in zip(classes, counts.reshape(len(classes), -1), strict=True):
            for name, count in zip(classes, row, strict=True):
                place = site.place | {"true_class": true, "predicted_class": name}
                share = count / row.sum() if row.sum() else None
                records.append(place | {"count": int(count), "share": share})
    return SCHEMAS["confusion"].frame(records)


def measured_site(
    site: Site, request: Request, settings: EvaluationSettings
) -> dict[str, Measured] | None:
    """The site's metrics by name; ``None`` where it has too few labelled rows."""
    if site.why_not(settings.minimum_rows) is not Reason.OK:
        return None
    return {each.name: each for each in measure(site.as_one(), request)}


def _site_rows(
    site: Site,
    measured: dict[str, Measured] | None,
    request: Request,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    place = {"split": "test"} | site.place
    if measured is None:
        reason = site.why_not(settings.minimum_rows)
        nothing = Estimate(value=None, n=len(site), n_patients=site.n_patients, reason=reason)
        yield from (place | {"metric": name} | nothing.cells() for name in metric_names(request))
        return
    for name, each in measured.items():
        told = estimate(each, site, settings).cells() | {"metric": name, "detail": each.detail}
        effect, error = effect_of(each, site.n_units, described(name).scale) or (None, None)
        yield place | told | {"effect": effect, "effect_error": error}
