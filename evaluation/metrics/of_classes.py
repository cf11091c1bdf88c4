"""Metrics over the classes of a model, for the point estimate and every draw."""

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np

from offsite.evaluation.metrics import confusion, scoring
from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.metrics.separation import separation
from offsite.evaluation.statistics.composed import (
    macro_f1_interval,
    mean_of_shares_interval,
    mean_precision_interval,
)
from offsite.evaluation.statistics.delong import Placements, placements
from offsite.evaluation.statistics.measured import (
    Bounds,
    Measured,
    Request,
    included_classes,
    macro,
    share,
)
from offsite.evaluation.statistics.resampling import weighted_sums
from offsite.evaluation.statistics.samples import Sample


def of_ranking(sample: Sample, counts: np.ndarray, request: Request) -> Iterator[Measured]:
    """AUROC and average precision: of the second of two classes, else one class against the rest."""
    minimum = request.minimum_of_class
    if sample.classes == 2:
        scores, positive = sample.probabilities[:, 1], sample.labels == 1
        yield from separation(("auroc", "auprc"), sample, counts, scores, positive, minimum)
        return
    included = included_classes(sample, minimum)
    by_class = [
        separation(
            (f"auroc/{label}", f"auprc/{label}"),
            sample,
            counts,
            sample.probabilities[:, index],
            sample.labels == index,
            minimum,
        )
        for index, label in enumerate(request.classes)
    ]
    for name, measured in zip(("auroc", "auprc"), zip(*by_class, strict=True), strict=True):
        values = np.stack([each.values for each in measured], axis=1)
        whole = confusion.mean_over(values, included)
        used = [each for each, use in zip(measured, included, strict=True) if use]
        areas = [each.placements for each in used] if name == "auroc" else []
        bounds = _mean_precision(sample, used, included) if used and name == "auprc" else None
        yield macro(name, whole, sample, included, areas=areas, bounds=bounds)
        yield from measured
    whole, areas = _one_against_one(sample, counts, included)
    # Of two classes of two or three patients each the placement values know next to nothing.
    in_class = [sample.patients_among(sample.labels == label) for label in np.flatnonzero(included)]
    rarest = min(in_class, default=0)
    yield macro("auroc_ovo", whole, sample, included, areas=areas, rarer=rarest)


def _mean_precision(sample: Sample, used: list[Measured], included: np.ndarray) -> Bounds:
    patients = [sample.patients_among(sample.labels == label) for label in np.flatnonzero(included)]
    values = [float(each.values[0]) for each in used]
    return partial(mean_precision_interval, list(zip(values, patients, strict=True)))


def _one_against_one(
    sample: Sample, counts: np.ndarray, included: np.ndarray
) -> tuple[np.ndarray, list[Placements | None]]:
    """Hand and Till's (2001) M over the included classes, and the areas that it is the mean of."""
    pairs = list(combinations(np.flatnonzero(included), 2))
    total = np.zeros(len(counts))
    areas: list[Placements | None] = []
    for one, other in pairs:
        rows = np.isin(sample.labels, (one, other))
        units, labels = sample.units[rows], sample.labels[rows]
        for positive in (one, other):
            scores = sample.probabilities[rows, positive]
            ranking = Ranking.of(scores, labels == positive, units)
            total += auroc_and_precision(ranking, counts)[0]
            areas.append(placements(scores, labels == positive, units, sample.n_units))
    return total / (2 * len(pairs)) if pairs else np.full(len(counts), np.nan), areas


def of_calls(sample: Sample, counts: np.ndarray, request: Request) -> Iterator[Measured]:
    """Accuracy, kappas, F1, sensitivities and prevalences, from the most probable class."""
    called = sample.probabilities.argmax(axis=1)
    cells = confusion.cell_indicators(sample.labels, called, sample.classes)
    shape = (len(counts), sample.classes, sample.classes)
    table = weighted_sums(counts, sample.unit_sums(cells)).reshape(shape)
    present = sample.class_counts > 0
    several = present if present.sum() >= 2 else np.zeros_like(present)
    right = called == sample.labels
    yield share("accuracy", confusion.accuracy(table), right, sample.units)
    by_class = tuple(
        (right[sample.labels == index], sample.units[sample.labels == index])
        for index in np.flatnonzero(several)
    )
    balanced = confusion.balanced_accuracy(table, several)
    rarer, included = sample.rarer_side, np.flatnonzero(several).tolist()
    of_shares = partial(mean_of_shares_interval, by_class)
    yield macro("balanced_accuracy", balanced, sample, present, bounds=of_shares, rarer=rarer)
    of_f1 = partial(macro_f1_interval, sample.labels, called, sample.units, included)
    f1 = confusion.macro_f1(table, several)
    yield macro("macro_f1", f1, sample, present, bounds=of_f1, rarer=rarer)
    if sample.classes > 2 and request.ordered:
        for name, power in (("quadratic_weighted_kappa", 2), ("linear_weighted_kappa", 1)):
            kappa = confusion.weighted_kappa(table, power)
            yield Measured(name=name, values=kappa, n=sample.n, scale="fisher", rarer=rarer)
    sensitivities = confusion.sensitivities(table)
    shares = table.sum(axis=-1) / np.maximum(table.sum(axis=(-2, -1)), 1)[:, None]
    for index, label in enumerate(request.classes):
        of_label = sample.labels == index
        count, sensitivity = int(of_label.sum()), sensitivities[:, index]
        yield share(
            f"sensitivity/{label}",
            sensitivity,
            right[of_label],
            sample.units[of_label],
            positive=count,
        )
        yield share(
            f"prevalence/{label}",
            shares[:, index],
            of_label,
            sample.units,
            positive=count,
        )


def of_probabilities(sample: Sample, counts: np.ndarray, request: Request) -> Iterator[Measured]:
    """Brier score and log loss."""
    rows = np.stack(
        [
            scoring.brier_rows(sample.probabilities, sample.labels),
            scoring.log_loss_rows(sample.probabilities, sample.labels),
            np.ones(sample.n),
        ],
        axis=1,
    )
    sums = weighted_sums(counts, sample.unit_sums(rows))
    for column, name in enumerate(("brier", "log_loss")):
        values = confusion.ratio(sums[:, column], sums[:, 2])
        yield Measured(name=name, values=values, n=sample.n, scale="log", rarer=sample.rarer_side)
