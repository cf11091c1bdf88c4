"""How well scores separate positive from negative rows, for the estimate and every draw."""

from functools import partial
from typing import Any

import numpy as np

from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.statistics.composed import mean_precision_interval
from offsite.evaluation.statistics.delong import placements
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.measured import Measured
from offsite.evaluation.statistics.samples import Sample


def separation(
    names: tuple[str, str],
    sample: Sample,
    counts: np.ndarray,
    scores: np.ndarray,
    positive: np.ndarray,
    minimum: int,
) -> tuple[Measured, Measured]:
    """AUROC and average precision under the two names.

    Parameters
    ----------
    names : tuple of str
        Names of the two metrics.
    sample : Sample
        Whose units are drawn.
    counts : numpy.ndarray
        B x units.
    scores, positive : numpy.ndarray
        N numbers, N booleans.
    minimum : int
        Fewest rows on each side; with fewer there is no value.
    """
    facts: dict[str, Any] = {"n": len(positive), "n_positive": int(positive.sum())}
    undefined = why_undefined(positive, minimum)
    if undefined is not None:
        nothing = np.full(len(counts), np.nan)
        area, precision = (
            Measured(name=name, values=nothing, undefined=undefined, **facts) for name in names
        )
        return area, precision
    both = auroc_and_precision(Ranking.of(scores, positive, sample.units), counts)
    placed = placements(scores, positive, sample.units)
    return (
        Measured(name=names[0], values=both[0], placements=placed, **facts),
        Measured(name=names[1], values=both[1], **facts, **_precision(both[1], sample, positive)),
    )


def precision_at_prevalence(
    name: str,
    sample: Sample,
    counts: np.ndarray,
    scores: np.ndarray,
    positive: np.ndarray,
    minimum: int,
    prevalence: float,
) -> Measured:
    """Average precision with the positives weighted to a prevalence (0..1)."""
    facts: dict[str, Any] = {"n": len(positive), "n_positive": int(positive.sum())}
    detail, undefined = f"prevalence {prevalence:.3g}", why_undefined(positive, minimum)
    if undefined is not None:
        nothing = np.full(len(counts), np.nan)
        return Measured(name=name, values=nothing, detail=detail, undefined=undefined, **facts)
    ranking = Ranking.of(scores, positive, sample.units)
    values = auroc_and_precision(ranking, counts, prevalence)[1]
    facts |= _precision(values, sample, positive)
    return Measured(name=name, values=values, detail=detail, **facts)


def _precision(values: np.ndarray, sample: Sample, positive: np.ndarray) -> dict[str, Any]:
    """What the interval of an average precision rests on."""
    patients = sample.patients_among(positive)
    return {
        "bounds": partial(mean_precision_interval, [(float(values[0]), patients)]),
        "rarer": min(patients, sample.patients_among(~positive)),
    }


def why_undefined(positive: np.ndarray, minimum: int) -> Reason | None:
    """Why N booleans do not allow a metric of two sides, or ``None`` where they do."""
    rarer = min(int(positive.sum()), int((~positive).sum()))
    if rarer == 0:
        return Reason.SINGLE_CLASS if len(positive) else Reason.NO_SAMPLES
    return Reason.TOO_FEW if rarer < minimum else None
