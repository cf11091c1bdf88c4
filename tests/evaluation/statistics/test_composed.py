"""Intervals of means over classes: from those of the classes, by a second way of counting."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import f1_score

from offsite.evaluation.statistics.binomial import exact_interval
from offsite.evaluation.statistics.composed import (
    macro_f1_interval,
    mean_of_shares_interval,
    mean_precision_interval,
)


def test_bounds_of_a_mean_of_shares_are_those_of_its_shares_put_together() -> None:
    hits = [np.arange(20) < 15, np.arange(8) < 8, np.arange(5) < 2]
    shares = [(each, np.arange(len(each))) for each in hits]
    low, high = mean_of_shares_interval(shares)
    means = [float(each.mean()) for each in hits]
    bounds = [exact_interval(int(each.sum()), len(each)) for each in hits]
    below = sum((mean - end[0]) ** 2 for mean, end in zip(means, bounds, strict=True)) ** 0.5 / 3
    above = sum((end[1] - mean) ** 2 for mean, end in zip(means, bounds, strict=True)) ** 0.5 / 3
    assert low == pytest.approx(np.mean(means) - below)
    assert high == pytest.approx(np.mean(means) + above)
    assert mean_of_shares_interval(shares[:1]) == pytest.approx(bounds[0])


def test_bounds_of_one_f1_are_those_of_the_share_that_it_rises_with() -> None:
    """13 of 20 rows that are of the class or called so are both: F1 = 26 / 33."""
    labels = np.repeat([0, 1, 0, 1], [13, 4, 3, 10])
    called = np.repeat([0, 0, 1, 1], [13, 4, 3, 10])
    low, high = macro_f1_interval(labels, called, np.arange(30), [0])
    ends = exact_interval(13, 20)
    assert (low, high) == pytest.approx(tuple(2 * end / (1 + end) for end in ends))
    assert low < f1_score(labels, called, pos_label=0) < high


def test_an_error_that_two_classes_share_is_not_counted_as_two() -> None:
    """Two classes err together: their bounds add up nearly whole, not as those of strangers do."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    called = np.where(rng.random(60) < 0.2, 1 - labels, labels)
    alone = [macro_f1_interval(labels, called, np.arange(60), [c]) for c in (0, 1)]
    low, high = macro_f1_interval(labels, called, np.arange(60), (0, 1))
    whole = np.mean([end - begin for begin, end in alone])
    assert 0.9 * whole < high - low <= whole + 1e-12
    assert low < f1_score(labels, called, average="macro") < high


def test_rows_of_a_patient_who_repeats_himself_are_no_more_patients() -> None:
    rng = np.random.default_rng(1)
    labels, called = rng.integers(0, 3, 40), rng.integers(0, 3, 40)
    once = macro_f1_interval(labels, called, np.arange(40), (0, 1, 2))
    thrice = [np.repeat(each, 3) for each in (labels, called, np.arange(40))]
    again = macro_f1_interval(*thrice, (0, 1, 2))
    assert again == pytest.approx(once, abs=0.03)


def test_an_average_precision_is_as_sure_as_a_share_of_its_positive_patients() -> None:
    low, high = mean_precision_interval([(0.7, 40)])
    inner = 28.5 / 41
    error = np.sqrt(inner * (1 - inner) / 40) / (inner * (1 - inner))
    assert logit([low, high]) == pytest.approx(
        logit(inner) + 1.95996 * error * np.array([-1, 1]), abs=1e-4
    )
    several = mean_precision_interval([(0.7, 40)] * 4)
    assert several[1] - several[0] == pytest.approx((high - low) / 2, rel=0.05)
    low, high = mean_precision_interval([(1.0, 8)])
    assert 0.4 < low < high < 1
