"""AUROC with its variance from placement values, also where patients give several rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, rankdata, t


@dataclass(frozen=True, kw_only=True, eq=False)
class Placements:
    """AUROC and the parts of its variance.

    Attributes
    ----------
    auroc : float
        Area under the curve, 0..1.
    positive, negative : numpy.ndarray
        float64, per unit: sums over its positive (negative) rows of placement value minus AUROC,
        divided by the number of positive (negative) rows of all.
    has_positive, has_negative : numpy.ndarray
        Whether the unit has such rows.
    degrees : float or None
        What the variance of a mean of several rests on; ``None`` for one area.
    independent : float
        Where a unit has several rows, the variance were they all of units of their own.
    """

    auroc: float
    positive: np.ndarray
    negative: np.ndarray
    has_positive: np.ndarray
    has_negative: np.ndarray
    degrees: float | None = None
    independent: float = 0.0


def placements(
    scores: np.ndarray,
    positive: np.ndarray,
    units: np.ndarray | None = None,
    n_units: int = 0,
) -> Placements:
    """AUROC by mid-ranks (Sun and Xu 2014) with sums of placement values per unit.

    Parameters
    ----------
    scores : numpy.ndarray
        N, larger for the positive side.
    positive : numpy.ndarray
        N booleans, some of each.
    units : numpy.ndarray, optional
        N unit numbers 0..U-1; rows are units of their own where not given.
    n_units : int
        Units that there are, where the rows are some of theirs; unset: those of the rows.

    Raises
    ------
    ValueError
        One side is absent.

    Examples
    --------
    >>> scores = np.array([0.9, 0.4, 0.6, 0.1])
    >>> float(placements(scores, np.array([True, True, False, False])).auroc)
    0.75
    """
    positive = np.asarray(positive, dtype=bool)
    units = np.arange(len(scores)) if units is None else np.asarray(units)
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        raise ValueError("an AUROC needs positive and negative rows")
    ranks = rankdata(scores)
    of_positive = (ranks[positive] - rankdata(scores[positive])) / n
    of_negative = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    area, count = float(of_positive.mean()), max(int(units.max()) + 1, n_units)
    alone = len(np.unique(units)) == m + n
    return Placements(
        auroc=area,
        positive=np.bincount(units[positive], (of_positive - area) / m, count),
        negative=np.bincount(units[~positive], (of_negative - area) / n, count),
        has_positive=np.bincount(units[positive], minlength=count) > 0,
        has_negative=np.bincount(units[~positive], minlength=count) > 0,
        independent=0.0 if alone else hanley_mcneil(area, m, n),
    )


def hanley_mcneil(auroc: float, positives: int, negatives: int) -> float:
    """Variance of an AUROC of so many independent rows (Hanley and McNeil 1982, equations 1 and 2).

    >>> round(hanley_mcneil(0.8, 20, 80), 4)
    0.0039
    """
    of_positives, of_negatives = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc)
    spread += (positives - 1) * (of_positives - auroc**2)
    spread += (negatives - 1) * (of_negatives - auroc**2)
    return float(spread / (positives * negatives))


def covariance(one: Placements, other: Placements) -> float:
    """Covariance of two AUROCs on the same rows and units; of one with itself its variance.

    DeLong, DeLong and Clarke-Pearson (1988); with several rows per unit Obuchowski (1997).
    """
    parts = (
        (one.positive @ other.positive, one.has_positive),
        (one.negative @ other.negative, one.has_negative),
        (
            one.positive @ other.negative + one.negative @ other.positive,
            one.has_positive | one.has_negative,
        ),
    )
    counted = [(total, int(units.sum())) for total, units in parts]
    return float(sum(total * (n / (n - 1) if n > 1 else 1.0) for total, n in counted))


def degrees_of_freedom(placements: Placements) -> float:
    """What the variance estimate rests on: the units of the rarer side, less one.

    Welch and Satterthwaite's mixture of both sides trusts the estimated variance of the rarer one:
    where two positive patients agree by chance it counts the negative ones, and the interval holds
    84 % (our construction). Of a mean of areas see :func:`averaged`.
    """
    if placements.degrees is not None:
        return placements.degrees
    rarer = min(int(placements.has_positive.sum()), int(placements.has_negative.sum()))
    return float(max(rarer - 1, 1))


def auroc_interval(placements: Placements, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of an AUROC, on the logit scale, so that it stays inside (0, 1).

    Where a patient has several rows the variance is no smaller than that of as many independent rows:
    at twenty positive patients of three it comes out too small, and the interval holds 92 % (our
    construction). Where the area is 0 or 1, or its variance is 0, Newcombe's (2006) score interval for
    the number of units takes over.
    """
    variance = max(covariance(placements, placements), placements.independent)
    if not 0 < placements.auroc < 1 or variance <= 0:
        return newcombe_interval(
            placements.auroc,
            int(placements.has_positive.sum()),
            int(placements.has_negative.sum()),
            confidence,
        )
    width = t.ppf((1 + confidence) / 2, degrees_of_freedom(placements)) * np.sqrt(variance)
    centre, step = logit(placements.auroc), width / (placements.auroc * (1 - placements.auroc))
    return float(expit(centre - step)), float(expit(centre + step))


def newcombe_interval(
    auroc: float, positives: int, negatives: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Score interval of an AUROC from its value and the numbers of units (Newcombe 2006, method 5).

    The bounds solve |auroc - x| = z sqrt(V(x)), with Hanley and McNeil's variance at the mean
    group size.

    >>> low, high = newcombe_interval(1.0, 20, 20)
    >>> round(low, 3), high
    (0.899, 1.0)
    """
    z = float(norm.ppf((1 + confidence) / 2))
    size = (positives + negatives) / 2

    def gap(x: float) -> float:
        shape = 1 + (size - 1) * ((1 - x) / (2 - x) + x / (1 + x))
        return (auroc - x) ** 2 - z**2 * x * (1 - x) * shape / (positives * negatives)

    edge = 1e-12
    low = 0.0 if auroc <= edge else brentq(gap, 0.0, auroc - edge * (auroc < 1) - edge)
    high = 1.0 if auroc >= 1 - edge else brentq(gap, auroc + edge, 1.0)
    return float(low), float(high)


def averaged(areas: Sequence[Placements]) -> Placements:
    """Mean of several AUROCs on the same rows and units, such as one class against the rest.

    Its variance is the mean over all pairs of their covariances, each corrected for its own units.
    Where a patient has several rows, two or three patients of a class can seem alike by chance, so it
    is no smaller than that of as many independent rows (our construction). Its degrees of freedom are
    Satterthwaite's, from those of the areas.
    """
    parts = [(covariance(area, area), degrees_of_freedom(area)) for area in areas]
    below = sum(variance**2 / degrees for variance, degrees in parts)
    count = len(areas)
    whole = replace(
        areas[0],
        auroc=float(np.mean([area.auroc for area in areas])),
        positive=np.mean([area.positive for area in areas], axis=0),
        negative=np.mean([area.negative for area in areas], axis=0),
        has_positive=np.any([area.has_positive for area in areas], axis=0),
        has_negative=np.any([area.has_negative for area in areas], axis=0),
        degrees=sum(part for part, _ in parts) ** 2 / below if below > 0 else 1.0,
        independent=sum(area.independent for area in areas) / count**2,
    )
    plain = covariance(whole, whole)
    # A covariance is linear in the other area: the mean over pairs is that with the mean area.
    wanted = float(np.mean([covariance(one, whole) for one in areas]))
    wanted = max(wanted, whole.independent)
    if plain <= 0 or wanted <= 0:
        return whole
    scale = np.sqrt(wanted / plain)
    return replace(whole, positive=scale * whole.positive, negative=scale * whole.negative)


def paired_difference(one: Placements, other: Placements) -> Placements:
    """Difference of two AUROCs on the same rows (other minus one), with its variance's parts."""
    known = [each.degrees for each in (one, other) if each.degrees is not None]
    return replace(
        one,
        degrees=min(known) if known else None,
        independent=0.0,
        auroc=other.auroc - one.auroc,
        positive=other.positive - one.positive,
        negative=other.negative - one.negative,
    )


def paired_test(
    one: Placements, other: Placements, confidence: float = 0.95, shared: float = 1.0
) -> tuple[float, float, float] | None:
    """Interval and two-sided p-value of a difference of AUROCs; ``None`` without any variance.

    ``shared`` is what the variance is multiplied by, where models share training patients.
    """
    difference = paired_difference(one, other)
    variance = shared * covariance(difference, difference)
    if variance <= 1e-16:
        return None
    error, degrees = float(np.sqrt(variance)), degrees_of_freedom(difference)
    width = float(t.ppf((1 + confidence) / 2, degrees)) * error
    p_value = float(2 * t.sf(abs(difference.auroc) / error, degrees))
    return difference.auroc - width, difference.auroc + width, p_value
