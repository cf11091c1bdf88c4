"""Covariate shift of a site: what its features look like, labels or not."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from offsite.evaluation.shift.classifier_test import classifier_test
from offsite.evaluation.shift.distances import (
    Distance,
    against_null,
    coral_distance,
    frechet_distance,
    principal_directions,
    whitened_mean_distance,
)
from offsite.evaluation.shift.record import ShiftRow, blank, tested, undefined
from offsite.evaluation.shift.sides import Comparison
from offsite.evaluation.shift.two_sample import TwoSample, energy_test, mmd_test
from offsite.evaluation.statistics.feature_stats import constant

KIND = "covariate"
DISTANCES: dict[str, Distance] = {
    "frechet": frechet_distance,
    "coral": coral_distance,
    "whitened_mean": whitened_mean_distance,
}


@dataclass(frozen=True, eq=False)
class _Features:
    """Embeddings of some rows of either side, with their units."""

    pair: Comparison
    places: tuple[np.ndarray, np.ndarray]

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        sides = (self.pair.local, self.pair.reference)
        first, second = (
            side.features(place) for side, place in zip(sides, self.places, strict=True)
        )
        return first, second

    @property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        sides = (self.pair.local, self.pair.reference)
        first, second = (
            side.rows.units[place] for side, place in zip(sides, self.places, strict=True)
        )
        return first, second

    def test(
        self, function: Callable[..., TwoSample | None], number: int, at_most: int | None = None
    ) -> TwoSample | None:
        return function(
            *self.rows,
            *self.units,
            permutations=self.pair.settings.permutations,
            at_most=at_most,
            generator=_generator(self.pair, number),
        )


def mmd_row(pair: Comparison) -> ShiftRow:
    """The headline: squared maximum mean discrepancy of embeddings, with its test."""
    row = blank(pair, KIND, "mmd2")
    reason = why_not(pair)
    if reason != "ok":
        return undefined(row, reason)
    return tested(row, _sampled(pair).test(mmd_test, 0, pair.permutations))


def detail_rows(pair: Comparison) -> list[ShiftRow]:
    """Energy distance, classifier test and Gaussian distances, each against its null."""
    names = ("energy", "c2st_auroc", *DISTANCES, "within_class_mmd2")
    reason = why_not(pair)
    if reason != "ok":
        return [undefined(blank(pair, KIND, name), reason) for name in names]
    features = _sampled(pair)
    return [
        tested(blank(pair, KIND, "energy"), features.test(energy_test, 1)),
        _classifier_row(features),
        *_distance_rows(features),
        _within_class_row(pair),
    ]


def why_not(pair: Comparison) -> str:
    """Why embeddings cannot be compared, or ``ok``."""
    sides = (pair.local, pair.reference)
    fewest, embeddings = min(map(len, sides)), pair.sites.predictions.embeddings
    if fewest == 0:
        return "no_samples"
    if embeddings is None:
        return "no_embeddings"
    if all(constant(embeddings, side.rows.index) for side in sides):
        return "constant_embeddings"
    patients = min(side.rows.n_patients() for side in sides)
    return "ok" if fewest >= pair.settings.minimum_rows and patients >= 4 else "too_few"


def _generator(pair: Comparison, *numbers: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([pair.settings.seed, *numbers]))


def _sampled(pair: Comparison) -> _Features:
    generator, limit = _generator(pair, 2), pair.settings.max_rows
    local, reference = (side.sample(limit, generator) for side in (pair.local, pair.reference))
    return _Features(pair, (local, reference))


def _classifier_row(features: _Features) -> ShiftRow:
    pair = features.pair
    row = blank(pair, KIND, "c2st_auroc")
    result = classifier_test(
        *features.rows,
        *features.units,
        permutations=pair.settings.permutations,
        folds=pair.settings.folds,
        ridge=pair.settings.ridge,
        confidence=pair.sites.settings.confidence,
        seed=pair.settings.seed,
    )
    if result is None:
        return undefined(row, "too_few")
    return tested(row, result.test) | {"low": result.low, "high": result.high}


def _distance_rows(features: _Features) -> list[ShiftRow]:
    pair, (local, reference) = features.pair, features.rows
    axes = principal_directions(np.concatenate([local, reference]), pair.settings.components)
    distances = against_null(
        local @ axes,
        reference @ axes,
        features.units[1],
        DISTANCES,
        splits=pair.settings.null_splits,
        seed=pair.settings.seed,
    )
    return [_distance_row(blank(pair, KIND, name), *both) for name, both in distances.items()]


def _distance_row(row: ShiftRow, to_site: np.ndarray, to_itself: np.ndarray) -> ShiftRow:
    usable = np.isfinite(to_site) & np.isfinite(to_itself)
    if usable.sum() < 0.5 * len(usable):
        return undefined(row, "too_few")
    return tested(row, TwoSample.of(np.r_[to_site[usable].mean(), to_itself[usable]]))


def _within_class_row(pair: Comparison) -> ShiftRow:
    """MMD class by class, averaged by the site's rows: shift that prevalence cannot explain."""
    row = blank(pair, KIND, "within_class_mmd2")
    if not (pair.local.labelled.any() and pair.reference.labelled.any()):
        return undefined(row, "no_labels")
    found: list[tuple[TwoSample, Any]] = []
    for label in range(pair.local.probabilities.shape[1]):
        sides = (pair.local, pair.reference)
        of_class = [np.flatnonzero(side.labels == label) for side in sides]
        if min(len(rows) for rows in of_class) >= pair.settings.minimum_rows:
            test = _class_test(pair, label, of_class)
            found += [(test, len(of_class[0]))] if test is not None else []
    if not found:
        return undefined(row, "too_few")
    share = np.array([size for _, size in found]) / sum(size for _, size in found)
    length = min(len(test.null) for test, _ in found)
    null = share @ np.stack([test.null[:length] for test, _ in found])
    value = float(share @ np.array([test.statistic for test, _ in found]))
    return tested(row, TwoSample.of(np.r_[value, null]))


def _class_test(pair: Comparison, label: int, of_class: list[np.ndarray]) -> TwoSample | None:
    generator, limit = _generator(pair, 3, label), pair.settings.max_rows // 2
    local, reference = (
        np.sort(generator.choice(rows, size=min(len(rows), limit), replace=False))
        for rows in of_class
    )
    return _Features(pair, (local, reference)).test(mmd_test, 10 + label)
