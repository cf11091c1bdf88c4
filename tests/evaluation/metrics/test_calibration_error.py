"""Calibration errors over equal-mass bins, and the band of a perfectly calibrated model."""

import numpy as np
import pytest

from offsite.evaluation.metrics.calibration_error import (
    debiased_error,
    equal_mass_bins,
    expected_error,
    simulated_shares,
)


def test_bins_have_equal_mass_and_keep_ties_together() -> None:
    probabilities = np.linspace(0, 1, 100)
    assert equal_mass_bins(probabilities, probabilities > 0.5, 10).sizes.tolist() == [10] * 10
    tied = np.repeat([0.1, 0.5, 0.9], [50, 1, 49])
    bins = equal_mass_bins(tied, tied > 0.3, 10)
    assert len(np.unique(bins.of_row[:50])) == 1
    assert bins.sizes.sum() == 100


def test_expected_error_by_hand() -> None:
    probabilities = np.array([0.1, 0.3, 0.7, 0.9])
    bins = equal_mass_bins(probabilities, np.array([False, True, True, True]), 2)
    # Bins: predicted .2 observed .5, predicted .8 observed 1.
    assert expected_error(bins, bins.observed) == pytest.approx((0.3 + 0.2) / 2)


def test_more_bins_than_rows_gives_a_bin_a_row() -> None:
    bins = equal_mass_bins(np.array([0.2, 0.4]), np.array([True, False]), 15)
    assert bins.sizes.tolist() == [1, 1]


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200)
    y, order = rng.random(200) < p, rng.permutation(200)
    one, other = equal_mass_bins(p, y, 15), equal_mass_bins(p[order], y[order], 15)
    np.testing.assert_allclose(one.observed, other.observed, atol=1e-15)
    np.testing.assert_array_equal(one.of_row[order], other.of_row)


def test_debiased_square_has_mean_zero_for_a_calibrated_model_and_the_plain_one_has_not() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(300)
    plain, corrected = [], []
    for _ in range(400):
        bins = equal_mass_bins(p, rng.random(300) < p, 10)
        noise = bins.observed * (1 - bins.observed) / (bins.sizes - 1)
        squares = (bins.observed - bins.probability) ** 2
        plain.append((squares * bins.sizes).sum() / 300)
        corrected.append(((squares - noise) * bins.sizes).sum() / 300)
    error = np.std(corrected) / np.sqrt(400)
    assert abs(np.mean(corrected)) < 4 * error
    assert np.mean(plain) > 20 * error


def test_debiased_error_sees_a_real_gap() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.6, 20_000)
    bins = equal_mass_bins(p, rng.random(20_000) < p + 0.2, 15)
    assert debiased_error(bins, bins.observed) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("rows", [60, 3000], ids=["row by row", "normal law"])
def test_simulated_shares_have_the_moments_of_true_probabilities(rows: int) -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(0.1, 0.9, rows)
    bins = equal_mass_bins(p, p > 0.5, 5)
    shares = simulated_shares(bins, p, 4000, rng)
    spread = np.sqrt(np.bincount(bins.of_row, p * (1 - p))) / bins.sizes
    assert np.all(np.abs(shares.mean(axis=0) - bins.probability) < 5 * spread / np.sqrt(4000))
    np.testing.assert_allclose(shares.std(axis=0), spread, rtol=0.06)


def test_a_calibrated_model_at_a_small_site_has_a_large_error_and_the_band_says_so() -> None:
    """Fifty rows in 15 bins: about .14 of plain error from noise alone."""
    rng = np.random.default_rng(4)
    p = rng.random(50)
    bins = equal_mass_bins(p, rng.random(50) < p, 15)
    null = expected_error(bins, simulated_shares(bins, p, 2000, rng))
    assert 0.12 < null.mean() < 0.2
