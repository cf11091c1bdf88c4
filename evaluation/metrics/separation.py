"""How well scores separate positive from negative rows, for the estimate and every draw."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.statistics.composed import mean_precision_interval
from offsite.evaluation.statistics.delong import placements
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.measured import Measured
from offsite.evaluation.statistics.site import Site


def separation(
    names: tuple[str, str], site: Site, scores: np.ndarray, positive: np.ndarray, minimum: int
) -> tuple[Measured, Measured]:
    """AUROC and average precision under the two names.

    Parameters
    ----------
    names : tuple of str
        Names of the two metrics.
    site : Site
        Whose units are drawn.
    scores, positive : numpy.ndarray
        N numbers, N booleans.
    minimum : int
        Fewest rows on each side; with fewer there is no value.
    """
    undefined = why_undefined(positive, minimum)
    if undefined is not None:
        area, precision = (_nothing(name, site, positive, undefined) for name in names)
        return area, precision
    areas, precisions = auroc_and_precision(Ranking.of(scores, positive, site.units), site.counts)
    placed = placements(scores, positive, site.units)
    return (
        Measured(name=names[0], values=areas, placements=placed, **_counted(positive)),
        _precision(names[1], precisions, site, positive),
    )


def precision_at_prevalence(
    name: str,
    site: Site,
    scores: np.ndarray,
    positive: np.ndarray,
    minimum: int,
    prevalence: float,
) -> Measured:
    """Average precision with the positives weighted to a prevalence (0..1)."""
    detail, undefined = f"prevalence {prevalence:.3g}", why_undefined(positive, minimum)
    if undefined is not None:
        return replace(_nothing(name, site, positive, undefined), detail=detail)
    ranking = Ranking.of(scores, positive, site.units)
    values = auroc_and_precision(ranking, site.counts, prevalence)[1]
    return replace(_precision(name, values, site, positive), detail=detail)


def _counted(positive: np.ndarray) -> dict[str, Any]:
    return {"n": len(positive), "n_positive": int(positive.sum())}


def _nothing(name: str, site: Site, positive: np.ndarray, undefined: Reason) -> Measured:
    values = np.full(len(site.counts), np.nan)
    return Measured(name=name, values=values, undefined=undefined, **_counted(positive))


def _precision(name: str, values: np.ndarray, site: Site, positive: np.ndarray) -> Measured:
    """An average precision with what its interval rests on."""
    patients = site.patients_among(positive)
    bounds = partial(mean_precision_interval, [(float(values[0]), patients)])
    rarer = min(patients, site.patients_among(~positive))
    return Measured(name=name, values=values, bounds=bounds, rarer=rarer, **_counted(positive))


def why_undefined(positive: np.ndarray, minimum: int) -> Reason | None:
    """Why N booleans do not allow a metric of two sides, or ``None`` where they do."""
    rarer = min(int(positive.sum()), int((~positive).sum()))
    if rarer == 0:
        return Reason.SINGLE_CLASS if len(positive) else Reason.NO_SAMPLES
    return Reason.TOO_FEW if rarer < minimum else None
