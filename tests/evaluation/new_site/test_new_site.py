"""Local cases at a new site: exact checks, local settings, alarms."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binom, binomtest

from offsite.evaluation.new_site.checks import (
    CheckResult,
    check_coverage,
    check_sensitivity,
    shift_alarm,
)
from offsite.evaluation.new_site.settings import local_prior, local_temperature, local_threshold
from offsite.evaluation.statistics.estimates import Reason


def names(count):
    return np.array([f"p{index}" for index in range(count)])


@pytest.mark.parametrize(
    ("found", "verdict"),
    [(30, CheckResult.FAILS), (36, CheckResult.UNCLEAR), (40, CheckResult.UNCLEAR)],
)
def test_sensitivity_is_checked_by_the_exact_binomial(found, verdict):
    # 40 positives, some of them over the threshold, and 30 negatives that do not count.
    scores = np.r_[np.full(found, 0.9), np.full(40 - found, 0.1), np.full(30, 0.9)]
    positive = np.arange(70) < 40
    check = check_sensitivity(scores, positive, 0.5, 0.92, names(70))
    oracle = binomtest(found, 40, 0.92, alternative="less")
    assert check.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    interval = binomtest(found, 40).proportion_ci(method="exact")
    assert check.estimate.low == pytest.approx(interval.low)
    assert check.estimate.high == pytest.approx(interval.high)
    assert check.estimate.value == found / 40
    assert (check.estimate.n, check.estimate.n_positive) == (40, 40)
    assert check.verdict is verdict


def test_a_check_holds_only_where_the_whole_interval_does():
    scores, positive = np.full(100, 0.9), np.ones(100, dtype=bool)
    assert check_sensitivity(scores, positive, 0.5, 0.95, names(100)).verdict is CheckResult.HOLDS
    few = check_sensitivity(scores[:50], positive[:50], 0.5, 0.95, names(50))
    assert few.verdict is CheckResult.UNCLEAR  # 50 of 50 still allow 92.9 %


def test_cases_of_one_patient_count_as_far_as_they_agree():
    covered = np.repeat(np.arange(25) < 19, 4)  # 25 patients whose four images agree wholly
    members = np.column_stack([covered, ~covered])
    labels = np.zeros(100, dtype=int)
    by_image = check_coverage(members, labels, 0.9, names(100))
    by_patient = check_coverage(members, labels, 0.9, np.repeat(names(25), 4))
    assert by_image.estimate.value == by_patient.estimate.value == 0.76
    assert by_image.verdict is CheckResult.FAILS
    assert by_patient.p_value > by_image.p_value
    assert by_patient.estimate.n_patients == 25
    width = by_patient.estimate.high - by_patient.estimate.low
    exact = binomtest(19, 25).proportion_ci(method="exact")
    assert width == pytest.approx(exact.high - exact.low, rel=0.1)


def test_coverage_leaves_unlabelled_cases_out():
    members = np.array([[True, False], [False, True], [True, True], [False, False]])
    check = check_coverage(members, np.array([0, 0, -1, 1]), 0.9, names(4))
    assert check.estimate.value == pytest.approx(1 / 3)
    assert check.estimate.n == 3


def test_the_alarm_rings_for_too_many_flags_only():
    def alarm(flagged):
        return shift_alarm(np.arange(80) < flagged, 0.05, names(80))

    oracle = binomtest(12, 80, 0.05, alternative="greater")
    assert alarm(12).p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert alarm(12).verdict is CheckResult.FAILS
    assert alarm(4).verdict is CheckResult.UNCLEAR
    assert alarm(0).verdict is CheckResult.HOLDS
    assert alarm(0).p_value == 1.0


def test_no_cases_give_no_verdict():
    check = check_sensitivity(np.zeros(5), np.zeros(5, dtype=bool), 0.5, 0.9, names(5))
    assert check.verdict is CheckResult.UNDEFINED
    assert check.estimate.reason is Reason.NO_SAMPLES
    assert check.p_value is None


def test_the_local_threshold_reaches_the_sensitivity_and_no_higher_one_does():
    rng = np.random.default_rng(1)
    scores, positive = rng.random(90), np.arange(90) < 60
    for sensitivity in (0.8, 0.9, 0.95, 1.0):
        found = local_threshold(scores, positive, sensitivity)
        own = np.sort(scores[positive])
        assert (own >= found.value).mean() >= sensitivity
        higher = own[own > found.value]
        assert (own >= higher[0]).mean() < sensitivity
        assert found.n_positive == 60


def test_the_interval_of_a_threshold_covers_the_true_one():
    rng = np.random.default_rng(2)
    truth = 0.1  # the 10 % quantile of uniform scores
    hits = []
    for _ in range(600):
        found = local_threshold(rng.random(80), np.ones(80, dtype=bool), 0.9)
        hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) >= 0.94
    r, s = int(binom.ppf(0.025, 80, 0.1)), int(binom.ppf(0.975, 80, 0.1)) + 1
    exact = binom.cdf(s - 1, 80, 0.1) - binom.cdf(r - 1, 80, 0.1)
    assert np.mean(hits) == pytest.approx(exact, abs=0.025)


def test_a_threshold_of_few_positives_is_open_below():
    found = local_threshold(np.linspace(0, 1, 12), np.ones(12, dtype=bool), 0.95)
    assert found.low is None
    assert found.high is not None
    assert found.reason is Reason.INTERVAL_UNSTABLE
    nothing = local_threshold(np.zeros(3), np.zeros(3, dtype=bool), 0.9)
    assert nothing.value is None
    assert nothing.reason is Reason.NO_SAMPLES


def softened(n, temperature, seed):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 3))
    odds = np.exp(logits)
    labels = (odds.cumsum(axis=1) / odds.sum(axis=1, keepdims=True) < rng.random((n, 1))).sum(
        axis=1
    )
    return logits * temperature, labels


def test_the_local_temperature_is_the_maximum_likelihood_one():
    logits, labels = softened(100, 1.7, 1)

    def loss(t):
        return -log_softmax(logits / t, axis=1)[np.arange(100), labels].sum()

    oracle = minimize_scalar(loss, bounds=(0.1, 10), method="bounded").x
    found = local_temperature(logits, labels, names(100))
    assert found.value == pytest.approx(oracle, rel=1e-3)
    assert found.low < found.value < found.high


def test_the_interval_of_the_temperature_covers_the_true_one():
    hits = []
    for seed in range(200):
        logits, labels = softened(80, 1.7, seed)
        found = local_temperature(logits, labels, names(80))
        hits.append(found.low <= 1.7 <= found.high)
    assert 0.89 <= np.mean(hits) <= 0.99


def test_repeated_images_do_not_narrow_the_temperature():
    logits, labels = softened(60, 1.3, 3)
    once = local_temperature(logits, labels, names(60))
    often = local_temperature(
        np.repeat(logits, 5, axis=0), np.repeat(labels, 5), np.repeat(names(60), 5)
    )
    assert often.low == pytest.approx(once.low, rel=1e-3)
    assert (often.n, often.n_patients) == (300, 60)


def test_a_temperature_that_cases_cannot_tell_is_undefined():
    logits = 5.0 * np.eye(3)[np.arange(30) % 3]
    assert local_temperature(logits, np.zeros(30, int), names(30)).reason is Reason.SINGLE_CLASS
    assert local_temperature(logits, np.full(30, -1), names(30)).reason is Reason.NO_LABELS
    # All right and separable: the likelihood grows without end as T falls.
    assert local_temperature(logits, np.arange(30) % 3, names(30)).reason is Reason.TOO_FEW


def test_the_prior_of_unlabelled_cases_has_an_interval_for_each_class():
    rng = np.random.default_rng(5)
    truth = np.array([0.2, 0.8])
    labels = rng.choice(2, size=150, p=truth)
    x = rng.normal(size=150) + 2.5 * labels
    second = 1 / (1 + np.exp(-(2.5 * x - 3.125)))
    found = local_prior(
        np.column_stack([1 - second, second]), np.array([0.5, 0.5]), names(150), resamples=200
    )
    assert len(found) == 2
    assert found[0].value + found[1].value == pytest.approx(1)
    assert found[1].low < 0.8 < found[1].high
    assert found[1].high - found[1].low < 0.3
    empty = local_prior(np.empty((0, 2)), np.array([0.5, 0.5]), names(0))
    assert [estimate.reason for estimate in empty] == [Reason.NO_SAMPLES] * 2
