"""Twins: identical features lose nothing, unrelated ones are at chance, a site's offset is seen."""

import numpy as np
import pytest

from offsite.evaluation.shift.twins import (
    cosines,
    flips,
    mean_over_tissues,
    rank_retention,
    retrieved,
    standardised,
)
from offsite.evaluation.statistics.estimates import Reason

TISSUES = np.repeat([f"t{number}" for number in range(12)], 20)


def _features(seed: int, rows: int = len(TISSUES), columns: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def test_identical_features_lose_nothing() -> None:
    features = _features(0)
    retained, _ = rank_retention(features, features, TISSUES)
    np.testing.assert_allclose(cosines(features, features), 1)
    assert (retained == 1).all()
    assert retrieved(features, features.copy())[0].all()
    assert not flips(np.array(["a", "b"]), np.array(["a", "b"])).any()


def test_unrelated_features_are_at_chance() -> None:
    first, second = _features(1), _features(2)
    retained, chance = rank_retention(first, second, TISSUES, 10)
    assert chance == pytest.approx(10 / 220)  # tiles of the same tissue are no candidates
    assert retained.mean() == pytest.approx(chance, abs=0.012)
    assert cosines(first, second).mean() == pytest.approx(0, abs=0.05)
    hits, rare = retrieved(first, second)
    assert rare == pytest.approx(1 / 479)
    assert hits.mean() < 0.03


def test_an_offset_of_the_site_spoils_retrieval_and_scaling_spoils_nothing() -> None:
    features = _features(3)
    assert retrieved(features, 3 * features)[0].all()
    np.testing.assert_allclose(cosines(features, 3 * features), 1)
    assert retrieved(features, features + 8)[0].mean() < 0.05


def test_neighbours_of_the_same_tissue_do_not_count() -> None:
    # Each tissue is a tight cluster that moves freely between sites: within it all ranks are kept.
    cluster = 10 * _features(4, 12)[np.unique(TISSUES, return_inverse=True)[1]]
    own = _features(5)
    retained, chance = rank_retention(own, own, TISSUES)
    moved = rank_retention(cluster + own, 10 * _features(6, 240) + own, TISSUES)[0]
    assert retained.mean() == 1
    assert chance is not None
    assert moved.mean() < 3 * chance


def test_retention_counts_the_share_of_neighbours_by_hand() -> None:
    angle = np.deg2rad([0, 10, 20, 30, 90])
    first = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    second = first[[0, 1, 4, 3, 2]]  # the twin of the third lies where the fifth was
    retained, chance = rank_retention(first, second, np.arange(5), 2)
    assert chance == 0.5
    # The first tile has {1, 2} and its twin {1, 3}; the second {0, 2} and {0, 3}.
    assert retained[:2].tolist() == [0.5, 0.5]


def test_without_other_tissues_retention_is_undefined() -> None:
    retained, chance = rank_retention(_features(7, 5), _features(8, 5), np.repeat("t", 5))
    assert np.isnan(retained).all()
    assert chance is None
    found = mean_over_tissues(retained, np.repeat("t", 5))
    assert (found.value, found.reason) == (None, Reason.NO_SAMPLES)


def test_the_interval_is_over_tissues_and_not_over_tiles() -> None:
    by_tissue = np.random.default_rng(9).normal(size=12)
    scores = np.repeat(by_tissue, 20)
    found = mean_over_tissues(scores, TISSUES, resamples=2000)
    assert found.value == pytest.approx(scores.mean())
    assert (found.n, found.n_patients) == (240, 12)
    assert found.low is not None
    assert found.high is not None
    half = (found.high - found.low) / 2
    assert half == pytest.approx(2.2 * by_tissue.std(ddof=1) / np.sqrt(12), rel=0.15)


def test_no_flip_is_not_certainty() -> None:
    found = mean_over_tissues(np.zeros(240, dtype=bool), TISSUES)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 12))  # twelve tissues, exact
    assert mean_over_tissues(np.ones(240), TISSUES).reason is Reason.INTERVAL_UNSTABLE
    assert mean_over_tissues(np.ones(3), np.repeat("t", 3)).reason is Reason.TOO_FEW


def test_standardised_columns_ignore_scale_and_constants() -> None:
    features = _features(10, 50, 3) * [1, 100, 0] + [5, -7, 3]
    rows = standardised(features)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(rows.std(axis=0), [1, 1, 0], atol=1e-12)
