"""How far two models may differ where no case tells them apart."""

from collections.abc import Sequence

import numpy as np

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import exact_interval
from offsite.evaluation.statistics.intervals import percentile_interval
from offsite.evaluation.statistics.measured import Measured


def difference_interval(
    draws: np.ndarray,
    models: Sequence[Measured],
    units: int,
    settings: EvaluationSettings,
    *,
    same: bool,
) -> tuple[float, float] | None:
    """Interval of a difference of two models from its draws, also where all of these are 0.

    Parameters
    ----------
    draws : numpy.ndarray
        B differences, NaN where a draw left the metric undefined.
    models : sequence of Measured
        The metric of both models, where they are of one place.
    units : int
        Units (patients) that were drawn from.
    settings : EvaluationSettings
        Confidence and the least share of defined draws.
    same : bool
        Whether the models give every row the same probabilities: they do not differ then.
    """
    if same:
        return 0.0, 0.0
    interval = percentile_interval(draws, units, settings.confidence, settings.minimum_defined)
    if interval is None and not np.nan_to_num(draws).any():
        return bounds_of_agreement(models, settings.confidence)
    return interval


def bounds_of_agreement(
    models: Sequence[Measured], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Bounds of a difference of which every draw is 0; ``None`` for other than shares and AUROCs.

    Draws that all agree do not say that the models are equal, only that none of the patients tells
    them apart. With m patients the share who would is at most the upper bound of Clopper and
    Pearson for 0 of m, and so is the difference, to either side (our construction). For an AUROC
    m are the patients of its rarer side.

    Parameters
    ----------
    models : sequence of Measured
        The metric of both models.
    confidence : float
        Of the bounds.
    """
    patients = [_patients(model) for model in models]
    if not patients or any(count is None for count in patients):
        return None
    high = exact_interval(0, min(count for count in patients if count is not None), confidence)[1]
    return -high, high


def _patients(measured: Measured) -> int | None:
    if measured.hits is not None and measured.units is not None:
        return len(np.unique(measured.units)) or None
    if measured.placements is None:
        return None
    return int(min(measured.placements.has_positive.sum(), measured.placements.has_negative.sum()))
