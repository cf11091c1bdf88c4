"""An estimate has a value or a reason, and never a number that is not one."""

import math

import numpy as np
import pytest
from scipy.stats import t

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.delong import placements
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.intervals import (
    estimate,
    percentile_interval,
    spread_interval,
)
from offsite.evaluation.statistics.measured import Measured
from offsite.evaluation.statistics.site import Site

SETTINGS = EvaluationSettings(resamples=100)


def patients(number: int) -> Site:
    """A site of so many patients, an image of each."""
    labels, probabilities = np.zeros(number, dtype=np.int64), np.ones((number, 1))
    return Site(labels=labels, probabilities=probabilities, units=np.arange(number))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["value", "low", "high"])
def test_non_finite_numbers_are_refused(place: str, number: float) -> None:
    with pytest.raises(ValueError, match="None with a reason"):
        Estimate(**({"value": 0.5} | {place: number}))


def test_an_undefined_value_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        Estimate(value=None)
    assert Estimate(value=None, reason=Reason.SINGLE_CLASS).cells()["reason"] == "single_class"


def test_draws_that_are_mostly_undefined_give_a_value_without_interval() -> None:
    draws = np.r_[0.7, np.full(30, 0.7), np.full(70, np.nan)]
    found = estimate(Measured(name="m", values=draws, n=20), patients(20), SETTINGS)
    assert (found.value, found.low, found.reason) == (0.7, None, Reason.INTERVAL_UNSTABLE)


def test_an_undefined_point_keeps_its_counts() -> None:
    measured = Measured(
        name="m", values=np.full(5, np.nan), n=9, n_positive=1, undefined=Reason.TOO_FEW
    )
    found = estimate(measured, patients(8), SETTINGS)
    assert (found.value, found.n, found.n_positive, found.n_patients) == (None, 9, 1, 8)
    assert found.reason is Reason.TOO_FEW


def test_a_share_has_the_exact_interval() -> None:
    """Clopper and Pearson for 8 of 10: .444 to .975."""
    hits = np.array([True] * 8 + [False] * 2)
    measured = Measured(
        name="m", values=np.full(5, 0.8), n=10, n_positive=8, share=(hits, np.arange(10))
    )
    found = estimate(measured, patients(10), SETTINGS)
    assert (found.low, found.high) == pytest.approx((0.4439, 0.9748), abs=1e-4)


def test_percentile_interval_widens_where_units_are_few_and_only_there() -> None:
    draws = np.random.default_rng(0).normal(size=20_000)
    many = percentile_interval(draws, 100_000)
    few = percentile_interval(draws, 8)
    assert many == pytest.approx((-1.96, 1.96), abs=0.05)
    # Student's t with 7 degrees of freedom, and n over n - 1.
    assert few == pytest.approx((-2.53, 2.53), abs=0.1)


def test_draws_that_all_agree_are_no_interval() -> None:
    assert percentile_interval(np.full(500, 1.0), 12) is None
    # Rounding alone does not make one either.
    assert percentile_interval(1.0 - 1e-16 * np.arange(500), 12) is None


def test_the_interval_of_a_loss_is_student_s_on_the_log() -> None:
    draws = np.exp(np.random.default_rng(0).normal(-1, 0.2, 400))
    low, high = spread_interval(np.r_[0.4, draws], 12)
    error = np.log(draws).std(ddof=1) * np.sqrt(12 / 11)
    assert (low, high) == pytest.approx(
        (0.4 * np.exp(-t.ppf(0.975, 11) * error), 0.4 * np.exp(t.ppf(0.975, 11) * error))
    )
    assert spread_interval(np.zeros(101), 12) is None
    assert spread_interval(np.full(101, 0.3), 12) is None
    assert spread_interval(np.r_[0.4, draws], 1) is None


def test_the_interval_of_a_kappa_is_student_s_on_fisher_s_scale() -> None:
    draws = np.tanh(np.random.default_rng(0).normal(0.8, 0.3, 400))
    low, high = spread_interval(np.r_[0.7, draws], 12, "fisher")
    width = t.ppf(0.975, 11) * np.arctanh(np.minimum(draws, 0.99)).std(ddof=1) * np.sqrt(12 / 11)
    assert np.arctanh([low, high]) == pytest.approx(np.arctanh(0.7) + np.array([-width, width]))
    assert spread_interval(np.full(101, 1.0), 12, "fisher") is None
    assert -1 < spread_interval(np.r_[1.0, draws], 12, "fisher")[1] < 1


def test_with_few_patients_on_a_side_there_is_a_value_and_no_interval() -> None:
    """One place decides, whatever the interval is made from."""
    draws = np.r_[0.7, np.random.default_rng(0).normal(0.7, 0.05, 100)]
    for number, reason in ((4, Reason.TOO_FEW), (5, Reason.OK)):
        hits, units = np.arange(3 * number) % 3 > 0, np.arange(3 * number) // 3
        positive = np.repeat([True, False], [number, 20])
        area = placements(np.arange(number + 20.0) % 7, positive)
        for measured in (
            Measured(name="m", values=draws, n=9, share=(hits, units)),
            Measured(name="m", values=draws, n=9, placements=area),
            Measured(name="m", values=draws, n=9, rarer=number),
            Measured(name="m", values=draws, n=9, scale="log", rarer=number),
            Measured(name="m", values=draws, n=9, bounds=lambda _: (0.6, 0.8), rarer=number),
        ):
            found = estimate(measured, patients(number + 20), SETTINGS)
            assert found.value == 0.7
            assert (found.reason, found.low is None) == (reason, reason is Reason.TOO_FEW)
