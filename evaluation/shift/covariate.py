"""Covariate shift of a site: what its features look like, labels or not."""

from dataclasses import replace

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
from offsite.evaluation.shift.record import ShiftRow, blank, undefined
from offsite.evaluation.shift.settings import ShiftSettings
from offsite.evaluation.shift.sides import Comparison, Side
from offsite.evaluation.shift.two_sample import TwoSample, energy_test, mmd_test
from offsite.evaluation.statistics.feature_stats import constant

KIND = "covariate"
DISTANCES: dict[str, Distance] = {
    "frechet": frechet_distance,
    "coral": coral_distance,
    "whitened_mean": whitened_mean_distance,
}


def mmd_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    """The headline: squared maximum mean discrepancy of embeddings, with its test."""
    row = blank(pair, KIND, "mmd2")
    reason = why_not(pair, settings)
    if reason != "ok":
        return undefined(row, reason)
    generator = np.random.default_rng(np.random.SeedSequence(settings.seed))
    local, reference = _samples(pair, settings)
    test = mmd_test(
        local[0],
        reference[0],
        local[1],
        reference[1],
        permutations=settings.permutations,
        generator=generator,
    )
    return _tested(row, test)


def detail_rows(pair: Comparison, settings: ShiftSettings) -> list[ShiftRow]:
    """Energy distance, classifier test and Gaussian distances, each against its null."""
    names = ("energy", "c2st_auroc", *DISTANCES, "within_class_mmd2")
    reason = why_not(pair, settings)
    if reason != "ok":
        return [undefined(blank(pair, KIND, name), reason) for name in names]
    local, reference = _samples(pair, settings)
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 1]))
    energy = energy_test(
        local[0],
        reference[0],
        local[1],
        reference[1],
        permutations=settings.permutations,
        generator=generator,
    )
    return [
        _tested(blank(pair, KIND, "energy"), energy),
        _classifier_row(pair, local, reference, settings),
        *_distance_rows(pair, local, reference, settings),
        _within_class_row(pair, settings),
    ]


def why_not(pair: Comparison, settings: ShiftSettings) -> str:
    """Why embeddings cannot be compared, or ``ok``."""
    fewest = min(len(pair.local), len(pair.reference))
    if fewest == 0:
        return "no_samples"
    if pair.local.rows.embeddings is None:
        return "no_embeddings"
    if all(constant(side.rows.embeddings) for side in (pair.local, pair.reference)):
        return "constant_embeddings"
    patients = min(len(np.unique(side.patients)) for side in (pair.local, pair.reference))
    return "ok" if fewest >= settings.minimum_rows and patients >= 4 else "too_few"


def _samples(
    pair: Comparison, settings: ShiftSettings
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 2]))
    return (
        _features(pair.local, pair.local.sample(settings.max_rows, generator)),
        _features(pair.reference, pair.reference.sample(settings.max_rows, generator)),
    )


def _features(side: Side, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    assert side.rows.embeddings is not None  # why_not has seen to it
    return side.rows.embeddings[rows], side.patients[rows]


def _tested(row: ShiftRow, test: TwoSample | None) -> ShiftRow:
    if test is None:
        return undefined(row, "too_few")
    return replace(row, value=test.statistic, null_high=test.null_high, p_value=test.p_value)


def _classifier_row(
    pair: Comparison,
    local: tuple[np.ndarray, np.ndarray],
    reference: tuple[np.ndarray, np.ndarray],
    settings: ShiftSettings,
) -> ShiftRow:
    row = blank(pair, KIND, "c2st_auroc")
    result = classifier_test(
        local[0],
        reference[0],
        local[1],
        reference[1],
        permutations=settings.permutations,
        resamples=settings.resamples,
        folds=settings.folds,
        ridge=settings.ridge,
        confidence=pair.sites.settings.confidence,
        seed=settings.seed,
    )
    if result is None:
        return undefined(row, "too_few")
    return replace(_tested(row, result.test), low=result.low, high=result.high)


def _distance_rows(
    pair: Comparison,
    local: tuple[np.ndarray, np.ndarray],
    reference: tuple[np.ndarray, np.ndarray],
    settings: ShiftSettings,
) -> list[ShiftRow]:
    axes = principal_directions(np.concatenate([local[0], reference[0]]), settings.components)
    distances = against_null(
        local[0] @ axes,
        reference[0] @ axes,
        local[1],
        reference[1],
        DISTANCES,
        splits=settings.null_splits,
        seed=settings.seed,
    )
    return [_distance_row(blank(pair, KIND, name), *both) for name, both in distances.items()]


def _distance_row(row: ShiftRow, to_site: np.ndarray, to_itself: np.ndarray) -> ShiftRow:
    usable = np.isfinite(to_site) & np.isfinite(to_itself)
    if usable.sum() < 0.5 * len(usable):
        return undefined(row, "too_few")
    value, null = float(to_site[usable].mean()), to_itself[usable]
    return replace(
        row,
        value=value,
        null_high=float(np.quantile(null, 0.95)),
        p_value=float((1 + (null >= value).sum()) / (1 + len(null))),
    )


def _within_class_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    """MMD class by class, averaged by the site's rows: shift that prevalence cannot explain."""
    row = blank(pair, KIND, "within_class_mmd2")
    if not (pair.local.labelled.any() and pair.reference.labelled.any()):
        return undefined(row, "no_labels")
    tests, sizes = [], []
    for label in range(len(pair.local.rows.classes)):
        test, size = _class_test(pair, label, settings)
        if test is not None:
            tests.append(test)
            sizes.append(size)
    if not tests:
        return undefined(row, "too_few")
    share = np.array(sizes) / np.sum(sizes)
    length = min(len(test.null) for test in tests)
    null = share @ np.stack([test.null[:length] for test in tests])
    value = float(share @ np.array([test.statistic for test in tests]))
    return _tested(row, TwoSample.of(np.r_[value, null]))


def _class_test(
    pair: Comparison, label: int, settings: ShiftSettings
) -> tuple[TwoSample | None, int]:
    of_class = [np.flatnonzero(side.rows.labels == label) for side in (pair.local, pair.reference)]
    if min(len(rows) for rows in of_class) < settings.minimum_rows:
        return None, 0
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 3, label]))
    cut = [
        np.sort(generator.choice(rows, size=min(len(rows), settings.max_rows // 2), replace=False))
        for rows in of_class
    ]
    local, local_patients = _features(pair.local, cut[0])
    reference, reference_patients = _features(pair.reference, cut[1])
    test = mmd_test(
        local,
        reference,
        local_patients,
        reference_patients,
        permutations=settings.permutations,
        generator=generator,
    )
    return test, len(of_class[0])
