"""From the draws of a metric to an estimate with its interval, or the reason why not."""

import numpy as np

from evaluation.binomial import clustered_interval
from evaluation.estimates import Estimate, Reason
from evaluation.metrics.catalogue import Measured
from evaluation.settings import EvaluationSettings


def percentile_interval(
    draws: np.ndarray, confidence: float, minimum_defined: float
) -> tuple[float, float] | None:
    """Percentile interval of the defined draws; ``None`` where too few are defined."""
    defined = draws[np.isfinite(draws)]
    if len(draws) == 0 or len(defined) < minimum_defined * len(draws):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def estimate(measured: Measured, units: int, settings: EvaluationSettings) -> Estimate:
    """The estimate of a metric whose first value is the point and whose others are draws.

    Shares get the exact interval at the effective sample size of their clusters, which keeps
    its coverage where all rows agree; other metrics the percentile interval of the draws.

    Parameters
    ----------
    measured : Measured
        The metric.
    units : int
        Patients (or images) behind the sample.
    settings : EvaluationSettings
        Confidence and the least share of defined draws.
    """
    point = float(measured.values[0])
    facts = {
        "n": measured.n,
        "n_positive": measured.n_positive,
        "n_patients": units,
        "classes_defined": measured.classes_defined,
        "classes": measured.classes,
    }
    if not np.isfinite(point):
        return Estimate(value=None, reason=measured.undefined, **facts)
    if measured.hits is not None and measured.units is not None:
        low, high = clustered_interval(measured.hits, measured.units, settings.confidence)
        facts["n_patients"] = len(np.unique(measured.units))
        return Estimate(value=point, low=min(low, point), high=max(high, point), **facts)
    interval = percentile_interval(
        measured.values[1:], settings.confidence, settings.minimum_defined
    )
    if interval is None:
        return Estimate(value=point, reason=Reason.INTERVAL_UNSTABLE, **facts)
    return Estimate(value=point, low=interval[0], high=interval[1], **facts)
