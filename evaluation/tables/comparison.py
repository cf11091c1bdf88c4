"""Models against each other on the same draws of patients, per site."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from offsite.errors import InputError
from offsite.evaluation.metrics.names import described
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import exact_interval
from offsite.evaluation.statistics.delong import paired_test
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.intervals import percentile_interval
from offsite.evaluation.statistics.measured import Measured, Request, request_of
from offsite.evaluation.statistics.resampling import generator_of
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.alignment import Compared, aligned, compared_places, rows_of_test
from offsite.evaluation.tables.schemas import SCHEMAS
from offsite.evaluation.tables.shared_folds import shared_at, shared_by_folds


def paired_differences(
    first: Predictions,
    second: Predictions,
    settings: EvaluationSettings,
    only: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Second model minus first: per site, pooled, and at the worst site of each.

    An AUROC of two sides is compared by the paired test of DeLong, DeLong and Clarke-Pearson
    (1988) with clusters (Obuchowski 1997). Other metrics get the expanded percentile interval of
    the paired draws, and the two-sided p-value of exchanging the models by patient. Where no
    draw tells two models apart, :func:`bounds_of_agreement` says how far they may differ yet.
    Where folds of a cross-validation answered, each is widened for the training patients that they
    share (:func:`offsite.evaluation.tables.shared_folds.shared_by_folds`).

    Parameters
    ----------
    first, second : Predictions
        Predictions for the same test images, in any order.
    settings : EvaluationSettings
        Tasks, draws, confidence.
    only : iterable of str, optional
        The metrics to give; unset: all.

    Raises
    ------
    InputError
        The test images, their labels, sites or patients, or the classes are not the same.
    """
    reference = rows_of_test(first)
    other = aligned(reference, second)
    request = request_of(first, settings, only)
    shared = shared_by_folds([reference, other])
    return differences_of_aligned(Sites.of(reference, settings), other, request, shared)


def differences_of_aligned(
    first: Sites, second: Predictions, request: Request, shared: float = 1.0
) -> pd.DataFrame:
    """As :func:`paired_differences`, of test rows that are in one order already.

    ``shared`` is what the variance over patients is multiplied by where folds answered.
    """
    # Without draws there is nothing to exchange: such tables have no p-values but those of areas.
    permute = first.settings.resamples > 0
    places = compared_places(first, [second], request, permute=permute)
    return SCHEMAS["differences"].frame(
        _difference_row(each, first.settings, shared_at(each.base, shared)) for each in places
    )


def compare_methods(
    groups: Mapping[str, Sequence[Predictions]],
    baseline: str,
    settings: EvaluationSettings,
    shared: float | None = None,
) -> pd.DataFrame:
    """Methods with several seeds each against a baseline, with patients' and seeds' variation.

    Patients are drawn once for all models. In each draw the seeds of a method are drawn too, and
    their deviation from the method's mean is stretched by sqrt(S / (S - 1)) and by Student's t
    with S - 1 degrees of freedom over the normal law, as S seeds are few (our construction).
    A method with one seed shows patients' variation alone.

    Parameters
    ----------
    groups : mapping of str to sequence of Predictions
        Predictions of each seed, by method; all for the same test images.
    baseline : str
        The method that the others are compared with.
    settings : EvaluationSettings
        Tasks, draws, confidence.
    shared : float, optional
        What the variance over patients is multiplied by, where models of a cross-validation share
        training patients (:func:`offsite.evaluation.tables.shared_folds.corrected_variance`). Unset: as
        :func:`offsite.evaluation.tables.shared_folds.shared_by_folds` says.

    Raises
    ------
    InputError
        The baseline is not one of the methods, a method has no predictions, or the models do
        not speak of the same test images.
    """
    if baseline not in groups or not all(groups.values()):
        raise InputError(
            f"no predictions of the baseline '{baseline}' or of another method",
            remedy=f"The methods are {', '.join(groups)}; give each at least one run",
            code="no_baseline",
        )
    order = [baseline, *(name for name in groups if name != baseline)]
    models: list[Predictions] = []
    slices = {}
    for name in order:
        slices[name] = slice(len(models), len(models) + len(groups[name]))
        models += groups[name]
    reference = rows_of_test(models[0])
    others = [aligned(reference, model) for model in models[1:]]
    request = request_of(models[0], settings)
    factor = shared_by_folds([reference, *others]) if shared is None else shared
    records = [
        row
        for entry in compared_places(Sites.of(reference, settings), others, request)
        for row in _method_rows(entry, slices, baseline, settings, shared_at(entry.base, factor))
    ]
    return SCHEMAS["methods"].frame(records)


def _difference_row(entry: Compared, settings: EvaluationSettings, shared: float) -> dict[str, Any]:
    record = {"split": "test", **entry.base}
    if entry.values is None:
        return record
    first, second, *swapped = entry.values
    record |= {"first": first[0], "second": second[0], "difference": second[0] - first[0]}
    areas = [model.placements for model in entry.models[:2] if model.placements is not None]
    asked = (settings.confidence, shared)
    test = paired_test(areas[0], areas[1], *asked) if len(areas) == 2 else None
    if test is not None:
        return record | dict(zip(("low", "high", "p_value"), test, strict=True))
    draws = second[1:] - first[1:]
    agree = not np.nan_to_num(draws).any()
    if shared != 1:
        draws = record["difference"] + np.sqrt(shared) * (draws - record["difference"])
    interval = percentile_interval(
        draws, entry.units, settings.confidence, settings.minimum_defined
    )
    if interval is None and agree:
        interval = bounds_of_agreement(entry.models[:2], *asked)
    if entry.same:
        interval = 0.0, 0.0
    if interval is None:
        return record | {"reason": Reason.INTERVAL_UNSTABLE.value}
    if not swapped:
        return record | {"low": interval[0], "high": interval[1]}
    null = np.abs(swapped[1] - swapped[0])
    null[1:] *= np.sqrt(shared)
    null = null[np.isfinite(null)]
    # The observed arrangement is one of them; rounding must not make it larger than itself.
    p_value = float((null >= null[0] - 1e-12).mean())
    return record | {"low": interval[0], "high": interval[1], "p_value": p_value}


def bounds_of_agreement(
    models: Sequence[Measured], confidence: float = 0.95, shared: float = 1.0
) -> tuple[float, float] | None:
    """Bounds of a difference of which every draw is 0; ``None`` for other than shares and AUROCs.

    Draws that all agree do not say that the models are equal, only that none of the patients tells
    them apart. With m patients the share who would is at most the upper bound of Clopper and
    Pearson for 0 of m, and so is the difference, to either side (our construction). For an AUROC
    m are the patients of its rarer side. Where models share training patients, m patients say as
    much as m / ``shared`` do elsewhere.

    Parameters
    ----------
    models : sequence of Measured
        The metric of both models.
    confidence : float
        Of the bounds.
    shared : float
        As in :func:`compare_methods`.
    """
    patients = [_patients(model) for model in models]
    if not patients or any(count is None for count in patients):
        return None
    least = min(count for count in patients if count is not None)
    high = exact_interval(0, max(int(least / shared), 1), confidence)[1]
    return -high, high


def _patients(measured: Measured) -> int | None:
    if measured.share is not None:
        return len(np.unique(measured.share[1])) or None
    if measured.placements is None:
        return None
    return int(min(measured.placements.has_positive.sum(), measured.placements.has_negative.sum()))


def _method_rows(
    entry: Compared,
    slices: dict[str, slice],
    baseline: str,
    settings: EvaluationSettings,
    shared: float,
) -> Iterator[dict[str, Any]]:
    drawn: dict[str, np.ndarray] = {}
    for method, seeds in slices.items():
        record = {"method": method, "seeds": seeds.stop - seeds.start, **entry.base}
        if entry.values is None:
            yield record
            continue
        values = entry.values[seeds]
        drawn[method] = _with_seeds(values, method, settings, shared)
        record["value"] = values[:, 0].mean()
        if len(values) > 1:
            record["seed_sd"] = values[:, 0].std(ddof=1)
        # Stretching takes draws past what the metric can be; differences keep what they need.
        possible = drawn[method].clip(*described(entry.base["metric"]).limits)
        record |= _bounds(possible, entry.units, ("low", "high"), settings)
        if method != baseline:
            names = ("difference_low", "difference_high")
            record["difference"] = drawn[method][0] - drawn[baseline][0]
            record |= _bounds(drawn[method] - drawn[baseline], entry.units, names, settings)
            pair = (entry.values[slices[baseline]], values)
            record["p_value"] = _p_value(*pair, entry.units, settings.minimum_defined, shared)
        yield record


def _p_value(
    one: np.ndarray, other: np.ndarray, units: int, minimum_defined: float, shared: float
) -> float | None:
    """Two-sided, of a difference of two methods' means over their seeds (S x (1 + B) each).

    Student's t of the variance over patients, from the draws, and over the seeds of each, with
    the degrees of freedom of Welch and Satterthwaite: far out in the tails, where corrected
    p-values are, quantiles of the draws have nothing to say.
    """
    difference = other.mean(axis=0) - one.mean(axis=0)
    draws = difference[1:][np.isfinite(difference[1:])]
    if units < 2 or len(draws) < max(2, minimum_defined * (len(difference) - 1)):
        return None
    parts = [(shared * float(draws.var(ddof=1)) * units / (units - 1), units - 1)]
    parts += [
        (float(seeds[:, 0].var(ddof=1)) / len(seeds), len(seeds) - 1)
        for seeds in (one, other)
        if len(seeds) > 1
    ]
    variance = sum(part for part, _ in parts)
    if variance <= 1e-16:
        return 1.0 if abs(difference[0]) < 1e-12 else None
    degrees = variance**2 / sum(part**2 / of for part, of in parts)
    return float(2 * t.sf(abs(difference[0]) / np.sqrt(variance), degrees))


def _with_seeds(
    values: np.ndarray, method: str, settings: EvaluationSettings, shared: float
) -> np.ndarray:
    """Mean over seeds in each draw, 1 + B, seeds drawn as well; the first is the plain mean."""
    seeds, mean = len(values), values.mean(axis=0)
    if shared != 1:
        values = values + (np.sqrt(shared) - 1) * (mean - mean[0])
        mean = values.mean(axis=0)
    if seeds == 1:
        return mean
    tail = (1 + settings.confidence) / 2
    stretch = np.sqrt(seeds / (seeds - 1)) * t.ppf(tail, seeds - 1) / norm.ppf(tail)
    generator = generator_of(settings.seed, "seeds", method)
    shares = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=values.shape[1]) / seeds
    shares[0] = 1 / seeds
    return mean + stretch * ((shares.T * values).sum(axis=0) - mean)


def _bounds(
    draws: np.ndarray, units: int, names: tuple[str, str], settings: EvaluationSettings
) -> dict[str, Any]:
    interval = percentile_interval(draws[1:], units, settings.confidence, settings.minimum_defined)
    if interval is None:
        return {"reason": Reason.INTERVAL_UNSTABLE.value}
    return dict(zip(names, interval, strict=True))
