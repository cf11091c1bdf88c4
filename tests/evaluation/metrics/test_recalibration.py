"""Calibration slope, intercept and Spiegelhalter's z against statsmodels and by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from offsite.evaluation.metrics.recalibration import slope_and_intercept, spiegelhalter_z


@pytest.fixture(scope="module")
def clustered():
    """Over-confident probabilities of 200 patients with two rows each."""
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(200), 2)
    risk = rng.normal(size=400) + np.repeat(rng.normal(size=200), 2)
    return expit(2 * risk + 0.3), rng.random(400) < expit(risk), units


def test_slope_and_its_interval_equal_a_cluster_robust_logistic_regression(clustered) -> None:
    p, y, units = clustered
    value, low, high, _ = slope_and_intercept(p, y, units)["slope"]
    model = sm.GLM(y.astype(float), sm.add_constant(logit(p)), family=sm.families.Binomial())
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": units, "use_correction": False})
    assert value == pytest.approx(fit.params[1], abs=1e-8)
    from scipy.stats import t

    # statsmodels' own correction also has a factor for rows, which ours leaves out.
    width = fit.bse[1] * np.sqrt(200 / 199) * t.ppf(0.975, 199)
    assert (low, high) == pytest.approx((value - width, value + width), abs=1e-7)


def test_intercept_is_that_of_a_regression_with_offset(clustered) -> None:
    p, y, units = clustered
    value, low, high, p_value = slope_and_intercept(p, y, units)["intercept"]
    assert (p_value < 0.05) == (not low < 0 < high)
    model = sm.GLM(
        y.astype(float), np.ones((400, 1)), family=sm.families.Binomial(), offset=logit(p)
    )
    assert value == pytest.approx(model.fit().params[0], abs=1e-8)


def test_over_confidence_is_a_slope_under_one(clustered) -> None:
    p, y, units = clustered
    _, _, high, p_value = slope_and_intercept(p, y, units)["slope"]
    assert high < 0.75
    assert p_value < 0.001


@pytest.mark.parametrize(
    "truth", [[True] * 4, [False, False, True, True]], ids=["one class", "separated"]
)
def test_a_fit_that_does_not_exist_is_none(truth: list[bool]) -> None:
    p = np.array([0.1, 0.2, 0.8, 0.9])
    assert slope_and_intercept(p, np.array(truth), np.arange(4))["slope"] is None


def test_spiegelhalter_by_hand() -> None:
    p, y = np.array([0.2, 0.8, 0.4]), np.array([True, True, False])
    top = 0.8 * 0.6 + 0.2 * -0.6 + -0.4 * 0.2
    bottom = np.sqrt(0.36 * 0.16 + 0.36 * 0.16 + 0.04 * 0.24)
    assert spiegelhalter_z(p, y, np.arange(3)) == pytest.approx(top / bottom, abs=1e-14)
    assert spiegelhalter_z(np.array([0.5, 0.5]), np.array([True, False]), np.arange(2)) is None
