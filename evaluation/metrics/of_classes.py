"""Metrics over the classes of a model, for the point estimate and every draw."""

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np

from offsite.evaluation.metrics import confusion
from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.metrics.scoring import brier_rows, log_loss_rows
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
from offsite.evaluation.statistics.site import Site


def of_ranking(site: Site, request: Request) -> Iterator[Measured]:
    """AUROC and average precision: of the second of two classes, else one class against the rest."""
    minimum, p, y = request.minimum_of_class, site.probabilities, site.labels
    if site.classes == 2:
        yield from separation(("auroc", "auprc"), site, p[:, 1], y == 1, minimum)
        return
    included = included_classes(site, minimum)
    patients = [site.patients_among(y == label) for label in np.flatnonzero(included)]
    by_class = [
        separation((f"auroc/{label}", f"auprc/{label}"), site, p[:, index], y == index, minimum)
        for index, label in enumerate(request.classes)
    ]
    for name, measured in zip(("auroc", "auprc"), zip(*by_class, strict=True), strict=True):
        values = np.stack([each.values for each in measured], axis=1)
        whole = confusion.mean_over(values, included)
        used = [each for each, use in zip(measured, included, strict=True) if use]
        areas = [each.placements for each in used] if name == "auroc" else []
        bounds: Bounds | None = None
        if used and name == "auprc":
            points = (float(each.values[0]) for each in used)
            bounds = partial(mean_precision_interval, list(zip(points, patients, strict=True)))
        yield macro(name, whole, site, included, areas=areas, bounds=bounds)
        yield from measured
    whole, areas = _one_against_one(site, included)
    # Of two classes of two or three patients each the placement values know next to nothing.
    rarest = min(patients, default=0)
    yield macro("auroc_ovo", whole, site, included, areas=areas, rarer=rarest)


def _one_against_one(
    site: Site, included: np.ndarray
) -> tuple[np.ndarray, list[Placements | None]]:
    """Hand and Till's (2001) M over the included classes, and the areas that it is the mean of."""
    counts = site.counts
    pairs = [
        pair for both in combinations(np.flatnonzero(included), 2) for pair in (both, both[::-1])
    ]
    total = np.zeros(len(counts))
    areas: list[Placements | None] = []
    for positive, other in pairs:
        rows = np.isin(site.labels, (positive, other))
        units, ill = site.units[rows], site.labels[rows] == positive
        scores = site.probabilities[rows, positive]
        total += auroc_and_precision(Ranking.of(scores, ill, units), counts)[0]
        areas.append(placements(scores, ill, units, site.n_units))
    return total / len(pairs) if pairs else np.full(len(counts), np.nan), areas


def of_calls(site: Site, request: Request) -> Iterator[Measured]:
    """Accuracy, kappas, F1, sensitivities and prevalences, from the most probable class."""
    called = site.probabilities.argmax(axis=1)
    cells = confusion.cell_indicators(site.labels, called, site.classes)
    table = site.totals(cells).reshape(-1, site.classes, site.classes)
    present = site.class_counts > 0
    several = present if present.sum() >= 2 else np.zeros_like(present)
    right = called == site.labels
    yield share("accuracy", confusion.accuracy(table), site, right)
    by_class = tuple(
        (right[site.labels == index], site.units[site.labels == index])
        for index in np.flatnonzero(several)
    )
    balanced = confusion.balanced_accuracy(table, several)
    rarer, included = site.rarer_side, np.flatnonzero(several).tolist()
    of_shares = partial(mean_of_shares_interval, by_class)
    yield macro("balanced_accuracy", balanced, site, present, bounds=of_shares, rarer=rarer)
    of_f1 = partial(macro_f1_interval, site.labels, called, site.units, included)
    f1 = confusion.macro_f1(table, several)
    yield macro("macro_f1", f1, site, present, bounds=of_f1, rarer=rarer)
    if site.classes > 2 and request.ordered:
        for name, power in (("quadratic_weighted_kappa", 2), ("linear_weighted_kappa", 1)):
            kappa = confusion.weighted_kappa(table, power)
            yield Measured(name=name, values=kappa, n=len(site), scale="fisher", rarer=rarer)
    sensitivities = confusion.sensitivities(table)
    shares = table.sum(axis=-1) / np.maximum(table.sum(axis=(-2, -1)), 1)[:, None]
    for index, label in enumerate(request.classes):
        of_label = site.labels == index
        count, sensitivity = int(of_label.sum()), sensitivities[:, index]
        yield share(f"sensitivity/{label}", sensitivity, site, right, of_label, positive=count)
        yield share(f"prevalence/{label}", shares[:, index], site, of_label, positive=count)


def of_probabilities(site: Site, request: Request) -> Iterator[Measured]:
    """Brier score and log loss."""
    scores = [rows(site.probabilities, site.labels) for rows in (brier_rows, log_loss_rows)]
    *sums, total = site.totals(np.stack([*scores, np.ones(len(site))], axis=1)).T
    for name, losses in zip(("brier", "log_loss"), sums, strict=True):
        values = confusion.ratio(losses, total)
        yield Measured(name=name, values=values, n=len(site), scale="log", rarer=site.rarer_side)
