"""Feature statistics: exact, mergeable, shrunk as scikit-learn shrinks."""

import numpy as np
import pytest
from sklearn.covariance import OAS

from offsite.errors import InputError
from offsite.evaluation.statistics.feature_stats import FeatureStats, oas_shrinkage, shrunk


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    labels = rng.choice(4, size=500, p=[0.6, 0.3, 0.1, 0.0])
    features = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12)) + 100 + 3 * labels[:, None]
    return features, labels


def equal(first: FeatureStats, second: FeatureStats) -> None:
    np.testing.assert_array_equal(first.counts, second.counts)
    np.testing.assert_allclose(first.means, second.means, rtol=1e-12)
    np.testing.assert_allclose(first.within, second.within, rtol=1e-10, atol=1e-8)


def test_counts_means_and_scatter_are_those_of_the_rows(sample):
    features, labels = sample
    stats = FeatureStats.of(features, labels, 4)
    np.testing.assert_array_equal(stats.counts, np.bincount(labels, minlength=4))
    np.testing.assert_array_equal(stats.present, [0, 1, 2])
    for label in range(3):
        np.testing.assert_allclose(stats.means[label], features[labels == label].mean(axis=0))
    centred = np.concatenate(
        [features[labels == label] - features[labels == label].mean(axis=0) for label in range(3)]
    )
    np.testing.assert_allclose(stats.within, centred.T @ centred, rtol=1e-9)
    np.testing.assert_allclose(
        stats.scatter_about(stats.mean()) / stats.n, np.cov(features.T, bias=True), rtol=1e-9
    )


def test_merged_parts_equal_one_pass_whatever_the_parts(sample):
    features, labels = sample
    whole = FeatureStats.of(features, labels, 4)
    order = np.random.default_rng(2).permutation(500)
    parts = np.split(order, [1, 7, 7, 300])  # one row, few rows, no row, many rows
    merged = FeatureStats.empty(4, 12)
    for part in parts:
        merged = merged.merge(FeatureStats.of(features[part], labels[part], 4))
    equal(merged, whole)


def test_rows_in_blocks_equal_rows_at_once(monkeypatch, sample):
    features, labels = sample
    whole = FeatureStats.of(features, labels, 4)
    monkeypatch.setattr("offsite.evaluation.statistics.feature_stats._BLOCK", 37)
    equal(FeatureStats.of(features.astype(np.float64), labels, 4), whole)


def test_unlabelled_rows_are_left_out(sample):
    features, labels = sample
    hidden = np.where(np.arange(500) % 5 == 0, -1, labels)
    known = hidden >= 0
    equal(FeatureStats.of(features, hidden, 4), FeatureStats.of(features[known], labels[known], 4))


@pytest.mark.parametrize("n", [5, 40, 400])
def test_shrinkage_equals_scikit_learns(n):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, 30)) * np.linspace(0.5, 3, 30)
    covariance = rows.T @ rows / n
    oracle = OAS(assume_centered=True).fit(rows)
    assert oas_shrinkage(covariance, n) == pytest.approx(oracle.shrinkage_, rel=1e-12)
    np.testing.assert_allclose(shrunk(covariance, n), oracle.covariance_, rtol=1e-12, atol=1e-14)


def test_shrunk_covariance_within_classes_equals_scikit_learns_on_residuals(sample):
    features, labels = sample
    stats = FeatureStats.of(features, labels, 4)
    residuals = features - stats.means[labels]
    oracle = OAS(assume_centered=True).fit(residuals)
    np.testing.assert_allclose(stats.within_covariance(), oracle.covariance_, rtol=1e-9)


def test_a_scaled_identity_is_shrunk_wholly_and_unchanged():
    assert oas_shrinkage(3 * np.eye(8), 50) == 1.0
    np.testing.assert_allclose(shrunk(3 * np.eye(8), 50), 3 * np.eye(8))


def test_unusable_input_is_refused_by_name(sample):
    features, labels = sample
    stats = FeatureStats.of(features, labels, 4)
    broken = features.copy()
    broken[3, 2] = np.inf
    with pytest.raises(InputError, match="not finite"):
        FeatureStats.of(broken, labels, 4)
    with pytest.raises(InputError, match="label 2 with 2 classes"):
        FeatureStats.of(features, labels, 2)
    with pytest.raises(InputError, match="do not belong together"):
        FeatureStats.of(features, labels[1:], 4)
    with pytest.raises(InputError, match="no labelled rows"):
        FeatureStats.empty(2, 3).within_covariance()
    with pytest.raises(InputError, match="one list of classes"):
        stats.merge(FeatureStats.empty(3, 12))
