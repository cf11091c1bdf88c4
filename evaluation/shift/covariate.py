"""Covariate shift of a site: what its features look like, labels or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from offsite.evaluation.shift.sides import Cells, Comparison
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
    rows: list[np.ndarray]
    units: list[np.ndarray]

    @classmethod
    def of(cls, pair: Comparison, places: Sequence[np.ndarray]) -> "_Features":
        sides = list(zip(pair.sides, places, strict=True))
        rows = [side.features(some) for side, some in sides]
        return cls(pair, rows, [side.rows.units[some] for side, some in sides])

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


def mmd_row(pair: Comparison) -> Cells:
    """The headline: squared maximum mean discrepancy of embeddings, with its test."""
    found: TwoSample | str | None = why_not(pair)
    if found == "ok":
        found = _sampled(pair).test(mmd_test, 0, pair.permutations)
    return pair.row(KIND, "mmd2", found)


def detail_rows(pair: Comparison) -> list[Cells]:
    """Energy distance, classifier test and Gaussian distances, each against its null."""
    names = ("energy", "c2st_auroc", *DISTANCES, "within_class_mmd2")
    reason = why_not(pair)
    if reason != "ok":
        return [pair.row(KIND, name, reason) for name in names]
    features = _sampled(pair)
    found = (
        features.test(energy_test, 1),
        _classifier(features),
        *_distances(features),
        _within_class(pair),
    )
    return [pair.row(KIND, *both) for both in zip(names, found, strict=True)]


def why_not(pair: Comparison) -> str:
    """Why embeddings cannot be compared, or ``ok``."""
    fewest, embeddings = min(map(len, pair.sides)), pair.sites.predictions.embeddings
    if fewest == 0:
        return "no_samples"
    if embeddings is None:
        return "no_embeddings"
    if all(constant(embeddings, side.rows.index) for side in pair.sides):
        return "constant_embeddings"
    patients = min(side.rows.n_patients for side in pair.sides)
    return "ok" if fewest >= pair.settings.minimum_rows and patients >= 4 else "too_few"


def _generator(pair: Comparison, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([pair.settings.seed, *numbers])


def _sampled(pair: Comparison) -> _Features:
    generator, limit = _generator(pair, 2), pair.settings.max_rows
    return _Features.of(pair, [side.sample(limit, generator) for side in pair.sides])


def _classifier(features: _Features) -> TwoSample | None:
    settings = features.pair.settings
    return classifier_test(
        *features.rows,
        *features.units,
        permutations=settings.permutations,
        folds=settings.folds,
        ridge=settings.ridge,
        confidence=features.pair.sites.settings.confidence,
        seed=settings.seed,
    )


def _distances(features: _Features) -> list[TwoSample | None]:
    settings, (local, reference) = features.pair.settings, features.rows
    axes = principal_directions(np.concatenate([local, reference]), settings.components)
    distances = against_null(
        local @ axes,
        reference @ axes,
        features.units[1],
        DISTANCES,
        splits=settings.null_splits,
        seed=settings.seed,
    )
    return [_distance(*both) for both in distances.values()]


def _distance(to_site: np.ndarray, to_itself: np.ndarray) -> TwoSample | None:
    usable = np.isfinite(to_site) & np.isfinite(to_itself)
    if usable.sum() < 0.5 * len(usable):
        return None
    return TwoSample.of(np.r_[to_site[usable].mean(), to_itself[usable]])


def _within_class(pair: Comparison) -> TwoSample | str | None:
    """MMD class by class, averaged by the site's rows: shift that prevalence cannot explain."""
    if not all(side.labelled.any() for side in pair.sides):
        return "no_labels"
    limit = pair.settings.max_rows // 2
    tests, sizes = [], []
    for label in range(len(pair.sites.predictions.classes)):
        of_class = [np.flatnonzero(side.rows.labels == label) for side in pair.sides]
        if min(map(len, of_class)) < pair.settings.minimum_rows:
            continue
        generator = _generator(pair, 3, label)
        some = [
            np.sort(generator.choice(rows, size=min(len(rows), limit), replace=False))
            for rows in of_class
        ]
        test = _Features.of(pair, some).test(mmd_test, 10 + label)
        if test is not None:
            tests.append(test)
            sizes.append(len(of_class[0]))
    if not tests:
        return None
    share = np.array(sizes) / sum(sizes)
    length = min(len(test.null) for test in tests)
    null = share @ np.stack([test.null[:length] for test in tests])
    value = float(share @ np.array([test.statistic for test in tests]))
    return TwoSample.of(np.r_[value, null])
