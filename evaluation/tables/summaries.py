"""The worst site and the gap between sites, with intervals that allow for the choice of the sites."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import norm, studentized_range

from offsite.evaluation.metrics.names import described
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import estimate, facts_of, interval_of
from offsite.evaluation.statistics.measured import Measured
from offsite.evaluation.statistics.sites import GAP, WORST, Site

MeasuredSite = tuple[Site, dict[str, Measured] | None]
_Defined = Sequence[tuple[Site, Measured]]


def worst_and_gap(
    metric: str,
    measured: Sequence[MeasuredSite],
    settings: EvaluationSettings,
) -> list[dict[str, Any]]:
    """The worst site and the gap of one metric; nothing for a metric without a better side.

    Their intervals are of the sites that have an interval of their own: of a site of two patients
    nobody knows whether it is the worst. Where such a site is the extreme one, there is none.

    Parameters
    ----------
    metric : str
        Its name.
    measured : sequence of (Site, dict of Measured or None)
        Sites and their metrics by name; ``None`` where a site could not be measured.
    settings : EvaluationSettings
        Confidence and the least share of defined draws.

    Returns
    -------
    list of dict
        Cells of a row each: ``site`` (``_worst``, ``_gap``), the estimate, ``sites_defined`` of
        ``sites`` that have the metric, and in ``detail`` the worst site, or ``best > worst``.
    """
    pairs = [(site, metrics[metric]) for site, metrics in measured if metrics is not None]
    better = described(metric).higher
    if better is None:
        return []
    defined = [(site, each) for site, each in pairs if np.isfinite(each.values[0])]
    counts: dict[str, Any] = {"sites_defined": len(defined), "sites": len(measured)}
    if not defined:
        nothing = Estimate(value=None, reason=_why_nowhere(measured, pairs))
        return [{"site": name, "detail": "", **counts} | nothing.cells() for name in (WORST, GAP)]
    own = [estimate(each, site, settings) for site, each in defined]
    stated = [pair for pair, told in zip(defined, own, strict=True) if told.low is not None]
    sign = 1.0 if better else -1.0
    values = sign * np.array([each.values[0] for _, each in defined])
    first, last = int(values.argmin()), int(values.argmax())
    site, each = defined[first]
    reason = own[first].reason
    bounds = worst_bounds(stated, settings, sign) if reason is Reason.OK else None
    worst = _estimate(float(sign * values[first]), bounds, reason, facts_of(each, site))
    gap, detail = Estimate(value=None, reason=Reason.TOO_FEW), ""
    if len(defined) > 1:
        detail = f"{defined[last][0].name} > {site.name}"
        rows = {"n": sum(each.n for _, each in defined)}
        limits = described(metric).limits
        reason = reason if reason is not Reason.OK else own[last].reason
        if len(stated) < 2:  # the only one with an interval is as good as one without
            reason = Reason.TOO_FEW
        widest = limits[1] - limits[0]
        bounds = gap_bounds(stated, settings, widest) if reason is Reason.OK else None
        gap = _estimate(float(np.ptp(values)), bounds, reason, rows)
    return [
        {"site": WORST, "detail": site.name, **counts} | worst.cells(),
        {"site": GAP, "detail": detail, **counts} | gap.cells(),
    ]


def worst_bounds(
    sites: _Defined, settings: EvaluationSettings, sign: float
) -> tuple[float, float] | None:
    """Interval of the true value of whichever of k sites is truly the worst; ``sign`` > 0: the least.

    Where every site's own bound holds on a side, the least of the bounds holds for the least of the
    true values. Each side holds for all sites together (Šidák 1967): the promise is kept where the sites
    are alike, and more than kept where they differ, for then one alone can be the worst.
    """
    alpha = 1 - settings.confidence
    each = 1 - (1 - alpha / 2) ** (1 / len(sites))
    bounds = _bounds(sites, settings, 1 - 2 * each)
    if bounds is None:
        return None
    least = bounds.min(axis=0) if sign > 0 else bounds.max(axis=0)
    return float(least[0]), float(least[1])


def gap_bounds(
    sites: _Defined, settings: EvaluationSettings, widest: float
) -> tuple[float, float] | None:
    """Interval of the true gap between the best and the worst of k sites.

    All differences of two sites at once by Tukey's studentized range; the interval of each
    from those of its sites (Zou and Donner 2008), so that it is as uneven as theirs are. The
    greatest of the lower, and of the upper bounds hold for the greatest of the true differences, which
    is not over ``widest``, the range of the metric.
    """
    z = _range_quantile(len(sites), settings.confidence)
    bounds = _bounds(sites, settings, float(2 * norm.cdf(z) - 1))
    if bounds is None:
        return None
    values = np.array([each.values[0] for _, each in sites])
    below, above = values - bounds[:, 0], bounds[:, 1] - values
    apart = np.subtract.outer(values, values)
    low = apart - np.hypot.outer(below, above)
    high = apart + np.hypot.outer(above, below)
    pairs = ~np.eye(len(sites), dtype=bool)
    return max(0.0, float(low[pairs].max())), min(widest, float(high[pairs].max()))


@cache
def _range_quantile(sites: int, confidence: float) -> float:
    """Quantile of the greatest standardised difference of k normal values of equal truth."""
    return float(studentized_range.ppf(confidence, sites, np.inf) / np.sqrt(2))


def _bounds(sites: _Defined, settings: EvaluationSettings, confidence: float) -> np.ndarray | None:
    """The sites' own intervals (k x 2) at another confidence; ``None`` where one has none."""
    found = [interval_of(each, site, settings, confidence) for site, each in sites]
    return None if None in found else np.array(found, dtype=np.float64)


def _why_nowhere(measured: Sequence[MeasuredSite], pairs: list[tuple[Site, Measured]]) -> Reason:
    if pairs:
        return pairs[0][1].undefined
    return Reason.TOO_FEW if any(len(site) for site, _ in measured) else Reason.NO_LABELS


def _estimate(
    value: float, bounds: tuple[float, float] | None, reason: Reason, facts: dict[str, Any]
) -> Estimate:
    if bounds is None:
        why = Reason.INTERVAL_UNSTABLE if reason is Reason.OK else reason
        return Estimate(value=value, reason=why, **facts)
    low, high = min(bounds[0], value), max(bounds[1], value)
    return Estimate(value=value, low=low, high=high, **facts)
