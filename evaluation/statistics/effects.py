"""Estimates on a scale without bounds, where sites can be combined."""

from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit

from offsite.evaluation.statistics.binomial import effective_counts
from offsite.evaluation.statistics.delong import auroc_interval, covariance
from offsite.evaluation.statistics.measured import Measured

Transform = Callable[[np.ndarray], np.ndarray]
SCALES: dict[str, tuple[Transform, Transform]] = {
    "logit": (logit, expit),
    "fisher": (np.arctanh, np.tanh),
    "log": (np.log, np.exp),
}


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
    if measured.hits is not None and measured.units is not None:
        return _share(measured.hits, measured.units)
    if measured.placements is not None:
        return _area(measured)
    return _of_draws(measured, units, scale)


def _share(hits: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """Empirical logit with half a success and half a failure more (Haldane, Anscombe)."""
    successes, size = effective_counts(hits, units)
    yes, no = successes + 0.5, size - successes + 0.5
    return float(np.log(yes / no)), float(np.sqrt(1 / yes + 1 / no))


def _area(measured: Measured) -> tuple[float, float] | None:
    placements = measured.placements
    assert placements is not None
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
