"""The worst site and the gap between sites, in each draw as in the estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offsite.evaluation.metrics.names import described
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import percentile_interval
from offsite.evaluation.statistics.measured import Measured
from offsite.evaluation.statistics.sites import GAP, WORST, Site

MeasuredSite = tuple[Site, dict[str, Measured] | None]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A number over sites.

    Attributes
    ----------
    name : str
        ``_worst`` or ``_gap``.
    estimate : Estimate
        The number.
    sites_defined, sites : int
        Sites that have the metric, and sites there are.
    detail : str
        The worst site; for the gap ``best > worst``.
    """

    name: str
    estimate: Estimate
    sites_defined: int
    sites: int
    detail: str = ""


def worst_and_gap(
    metric: str, measured: Sequence[MeasuredSite], settings: EvaluationSettings
) -> list[Summary]:
    """The worst site and the gap of one metric; nothing for a metric without a better side.

    Parameters
    ----------
    metric : str
        Its name.
    measured : sequence of (Site, dict of Measured or None)
        Sites and their metrics by name; ``None`` where a site could not be measured.
    settings : EvaluationSettings
        Confidence and the least share of defined draws.
    """
    pairs = [(site, metrics[metric]) for site, metrics in measured if metrics is not None]
    better = described(metric).higher
    if better is None:
        return []
    defined = [(site, metrics) for site, metrics in pairs if np.isfinite(metrics.values[0])]
    counts: dict[str, Any] = {"sites_defined": len(defined), "sites": len(measured)}
    if not defined:
        nothing = Estimate(value=None, reason=_why_nowhere(measured, pairs))
        return [Summary(name=name, estimate=nothing, **counts) for name in (WORST, GAP)]
    sign = 1.0 if better else -1.0
    values = sign * np.stack([metrics.values for _, metrics in defined], axis=1)
    site, metrics = defined[int(values[0].argmin())]
    units = min(each.sample.n_units for each, _ in defined)
    worst = _of_draws(sign * values.min(axis=1), units, _facts(site, metrics), settings)
    gap, detail = Estimate(value=None, reason=Reason.TOO_FEW), ""
    if len(defined) > 1:
        detail = f"{defined[int(values[0].argmax())][0].name} > {site.name}"
        rows = {"n": sum(each.n for _, each in defined)}
        gap = _of_draws(values.max(axis=1) - values.min(axis=1), units, rows, settings)
    return [
        Summary(name=WORST, estimate=worst, detail=site.name, **counts),
        Summary(name=GAP, estimate=gap, detail=detail, **counts),
    ]


def _why_nowhere(measured: Sequence[MeasuredSite], pairs: list[tuple[Site, Measured]]) -> Reason:
    if pairs:
        return pairs[0][1].undefined
    return Reason.TOO_FEW if any(site.sample.n for site, _ in measured) else Reason.NO_LABELS


def _facts(site: Site, measured: Measured) -> dict[str, Any]:
    return {
        "n": measured.n,
        "n_positive": measured.n_positive,
        "n_patients": site.sample.n_patients,
        "classes_defined": measured.classes_defined,
        "classes": measured.classes,
    }


def _of_draws(
    values: np.ndarray, units: int, facts: dict[str, Any], settings: EvaluationSettings
) -> Estimate:
    interval = percentile_interval(values[1:], units, settings.confidence, settings.minimum_defined)
    if interval is None:
        return Estimate(value=float(values[0]), reason=Reason.INTERVAL_UNSTABLE, **facts)
    return Estimate(value=float(values[0]), low=interval[0], high=interval[1], **facts)
