"""From the draws of a metric to an estimate with its interval, or to an effect that sites combine."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, t

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import clustered_interval, effective_counts
from offsite.evaluation.statistics.delong import Placements, auroc_interval, covariance
from offsite.evaluation.statistics.estimates import FEWEST_PATIENTS, Estimate, Reason
from offsite.evaluation.statistics.measured import Measured
from offsite.evaluation.statistics.site import Site

_ROUNDING = 1e-12
_NEAR_ONE = 0.99
Transform = Callable[[np.ndarray], np.ndarray]
SCALES: dict[str, tuple[Transform, Transform]] = {
    "logit": (logit, expit),
    "fisher": (np.arctanh, np.tanh),
    "log": (np.log, np.exp),
}
"""To a scale without bounds, where sites can be combined, and back."""


def percentile_interval(
    draws: np.ndarray, units: int, confidence: float = 0.95, minimum_defined: float = 0.8
) -> tuple[float, float] | None:
    """Expanded percentile interval of the defined draws; ``None`` where too few are defined.

    ``None`` too where all draws agree, as after a perfect score: that says nothing of how certain
    the value is.

    With few units a bootstrap is too narrow, by the factor between the normal law with variance
    over n and Student's with variance over n - 1; the quantiles are moved outwards by it
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 4.2).

    Parameters
    ----------
    draws : numpy.ndarray
        B values, NaN where a draw left the metric undefined.
    units : int
        Units (patients) that were drawn from.
    confidence, minimum_defined : float
        Confidence, and the least share of defined draws.
    """
    defined = draws[np.isfinite(draws)]
    if len(draws) == 0 or len(defined) < minimum_defined * len(draws):
        return None
    student = t.ppf((1 - confidence) / 2, max(units - 1, 1))
    tail = norm.cdf(student * np.sqrt(units / max(units - 1, 1)))
    low, high = (float(bound) for bound in np.quantile(defined, [tail, 1 - tail]))
    return None if high - low <= _ROUNDING * max(1.0, abs(low)) else (low, high)


def spread_interval(
    values: np.ndarray,
    units: int,
    scale: str = "log",
    confidence: float = 0.95,
    minimum_defined: float = 0.8,
) -> tuple[float, float] | None:
    """Interval on a scale without bounds, by Student's t from the spread of the draws there.

    Losses of few patients are skewed: quantiles of their draws end too low (at ten to fifty patients
    they hold 71 to 91 % where these hold 80 to 96 %). A kappa is seen lower than it is, and in its
    draws once more: their quantiles hold 91 % at twenty patients where these hold 93 %.

    Parameters
    ----------
    values : numpy.ndarray
        The estimate, then B draws of it; NaN where one is undefined.
    units : int
        Units (patients) that were drawn from.
    scale : str
        ``log`` of a positive number; ``fisher`` of one from -1 to 1, taken for 0.99 from there on.
    confidence, minimum_defined : float
        As of :func:`percentile_interval`; ``None`` in the same cases, and of a loss of 0.
    """
    to, back = SCALES[scale]
    if scale == "fisher":
        values = np.clip(values, -_NEAR_ONE, _NEAR_ONE)
    known = np.isfinite(values) & ((values > 0) | (scale != "log"))
    draws = to(values[1:][known[1:]])
    if not known[0] or units < 2 or len(draws) < max(2, minimum_defined * (len(values) - 1)):
        return None
    error = draws.std(ddof=1) * np.sqrt(units / (units - 1))
    width = float(t.ppf((1 + confidence) / 2, units - 1) * error)
    if width <= _ROUNDING:
        return None
    low, high = back(to(values[:1]) + np.array([-width, width]))
    return float(low), float(high)


def estimate(measured: Measured, site: Site, settings: EvaluationSettings) -> Estimate:
    """The estimate of a metric whose first value is the point and whose others are draws.

    Shares get the exact interval at the effective sample size of their clusters, an AUROC (or a mean
    of several) the logit interval of its placement values by cluster, means over classes and an
    average precision theirs (`offsite.evaluation.statistics.composed`): they keep their coverage at
    small sites and where all rows agree. Losses and kappas have that of Student's t on their scale.
    Other metrics get the expanded percentile interval. With fewer than ``FEWEST_PATIENTS`` patients
    on a side there is none.

    Parameters
    ----------
    measured : Measured
        The metric.
    site : Site
        The sample that it is of.
    settings : EvaluationSettings
        Confidence and the least share of defined draws.
    """
    point = float(measured.values[0])
    facts = facts_of(measured, site)
    if not np.isfinite(point):
        return Estimate(value=None, reason=measured.undefined, **facts)
    if measured.share is not None:
        facts["n_patients"] = site.patients_of(measured.share[1])
    if (fewest := _rarer_side(measured, site)) is not None and fewest < FEWEST_PATIENTS:
        return Estimate(value=point, reason=Reason.TOO_FEW, **facts)
    interval = interval_of(measured, site, settings, settings.confidence)
    if interval is None:
        return Estimate(value=point, reason=Reason.INTERVAL_UNSTABLE, **facts)
    return Estimate(value=point, low=interval[0], high=interval[1], **facts)


def facts_of(measured: Measured, site: Site) -> dict[str, Any]:
    """What an estimate says of the sample beside its number."""
    return {
        "n": measured.n,
        "n_positive": measured.n_positive,
        "n_patients": site.n_patients,
        "classes_defined": measured.classes_defined,
        "classes": measured.classes,
    }


def interval_of(
    measured: Measured, site: Site, settings: EvaluationSettings, confidence: float
) -> tuple[float, float] | None:
    """Interval of a metric with a value at some confidence, however few patients it rests on."""
    point = float(measured.values[0])
    if measured.share is not None:
        low, high = clustered_interval(*measured.share, confidence)
    elif measured.placements is not None:
        low, high = auroc_interval(measured.placements, confidence)
    elif measured.bounds is not None:
        low, high = measured.bounds(confidence)
    elif measured.scale:
        asked = (measured.scale, confidence, settings.minimum_defined)
        return spread_interval(measured.values, site.n_units, *asked)
    else:
        asked_of_draws = (site.n_units, confidence, settings.minimum_defined)
        return percentile_interval(measured.values[1:], *asked_of_draws)
    return min(low, point), max(high, point)


def _rarer_side(measured: Measured, site: Site) -> int | None:
    """Patients on the rarer side that a metric rests on; ``None`` where it has no sides."""
    if measured.share is not None:
        return site.patients_of(measured.share[1])
    area = measured.placements
    if area is not None and measured.classes is None:
        sides = (area.has_positive, area.has_negative)
        return min(site.patients_of(np.flatnonzero(side)) for side in sides)
    return measured.rarer


def effect_of(measured: Measured, units: int, scale: str) -> tuple[float, float] | None:
    """A metric and its standard error on its scale; ``None`` where either is not defined.

    Parameters
    ----------
    measured : Measured
        Point estimate and draws, with what its interval rests on.
    units : int
        Patients (or images) behind the sample.
    scale : str
        The metric's, a key of ``SCALES``; shares and areas are on the logit scale.
    """
    point = float(measured.values[0])
    if not np.isfinite(point) or units < 2:
        return None
    if measured.share is not None:
        return _share(*measured.share)
    if measured.placements is not None:
        return _area(measured.placements)
    return _of_draws(measured, units, scale)


def _share(hits: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """Empirical logit with half a success and half a failure more (Haldane, Anscombe)."""
    successes, size = effective_counts(hits, units)
    yes, no = successes + 0.5, size - successes + 0.5
    return float(np.log(yes / no)), float(np.sqrt(1 / yes + 1 / no))


def _area(placements: Placements) -> tuple[float, float]:
    variance = covariance(placements, placements)
    if 0 < placements.auroc < 1 and variance > 0:
        spread = placements.auroc * (1 - placements.auroc)
        return float(logit(placements.auroc)), float(np.sqrt(variance) / spread)
    # At 0 or 1 there is no logit: the area counts as a share of as many successes (or failures)
    # as would leave a bound as far away as its own interval does (our construction).
    low, high = auroc_interval(placements)
    trials = float(np.log(0.025) / np.log(max(low, 1 - high)))
    yes, no = (trials + 0.5, 0.5) if placements.auroc > 0.5 else (0.5, trials + 0.5)
    return float(np.log(yes / no)), float(np.sqrt(1 / yes + 1 / no))


def _of_draws(measured: Measured, units: int, scale: str) -> tuple[float, float] | None:
    values = measured.values[np.isfinite(measured.values)]
    edge = 1 / (4 * max(measured.n, 2))
    bounds = {"logit": (edge, 1 - edge), "fisher": (edge - 1, 1 - edge), "log": (edge**2, np.inf)}
    scaled = SCALES[scale][0](np.clip(values, *bounds[scale]))
    if len(scaled) < 0.5 * len(measured.values) or len(scaled) < 3:
        return None
    error = float(scaled[1:].std(ddof=1) * np.sqrt(units / (units - 1)))
    return (float(scaled[0]), error) if error > 0 else None
