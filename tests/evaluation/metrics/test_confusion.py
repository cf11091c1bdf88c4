"""Metrics from confusion counts equal scikit-learn's, and stay undefined where theirs mislead."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    recall_score,
)

from offsite.evaluation.metrics.confusion import (
    accuracy,
    balanced_accuracy,
    cell_indicators,
    macro_f1,
    sensitivities,
    weighted_kappa,
)
from offsite.evaluation.statistics.resampling import draw_counts, weighted_sums

CLASSES = 5
EVERY = np.ones(CLASSES, dtype=bool)


@pytest.fixture(scope="module")
def drawn():
    """Labels, calls and counts of 8 draws, with the rows of each."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 300)
    called = np.clip(labels + rng.integers(-2, 3, 300), 0, CLASSES - 1)
    counts = draw_counts(300, 8, rng)
    cells = weighted_sums(counts, cell_indicators(labels, called, CLASSES))
    rows = [np.repeat(np.arange(300), draw) for draw in counts]
    return labels, called, cells.reshape(-1, CLASSES, CLASSES), rows


def test_each_draw_equals_scikit_learn(drawn) -> None:
    labels, called, counts, rows = drawn
    found = {
        "accuracy": (accuracy(counts), accuracy_score),
        "balanced": (balanced_accuracy(counts, EVERY), balanced_accuracy_score),
        "f1": (macro_f1(counts, EVERY), lambda y, p: f1_score(y, p, average="macro")),
        "quadratic": (
            weighted_kappa(counts),
            lambda y, p: cohen_kappa_score(y, p, weights="quadratic"),
        ),
        "linear": (
            weighted_kappa(counts, 1),
            lambda y, p: cohen_kappa_score(y, p, weights="linear"),
        ),
    }
    for name, (values, oracle) in found.items():
        wanted = [oracle(labels[own], called[own]) for own in rows]
        np.testing.assert_allclose(values, wanted, atol=1e-12, err_msg=name)


def test_sensitivities_equal_recalls(drawn) -> None:
    labels, called, counts, rows = drawn
    wanted = [recall_score(labels[own], called[own], average=None) for own in rows]
    np.testing.assert_allclose(sensitivities(counts), wanted, atol=1e-12)


def test_an_absent_class_has_no_sensitivity_and_does_not_lower_the_mean() -> None:
    counts = np.array([[8.0, 2, 0], [1, 9, 0], [0, 0, 0]])
    present = np.array([True, True, False])
    assert np.isnan(sensitivities(counts)[2])
    assert balanced_accuracy(counts, present) == pytest.approx(0.85, abs=1e-15)
    assert macro_f1(counts, present) == pytest.approx((16 / 19 + 18 / 21) / 2, abs=1e-15)


def test_a_draw_that_loses_a_class_is_undefined_rather_than_an_average_of_others() -> None:
    counts = np.array([[[5.0, 1], [0, 4]], [[6.0, 4], [0, 0]]])
    both = np.array([True, True])
    assert np.isnan(balanced_accuracy(counts, both)).tolist() == [False, True]
    assert np.isnan(macro_f1(counts, both)).tolist() == [False, True]


def test_kappa_of_one_true_class_is_undefined_not_zero() -> None:
    one_class = np.array([[6.0, 4, 0], [0, 0, 0], [0, 0, 0]])
    assert np.isnan(weighted_kappa(one_class))
    assert weighted_kappa(np.diag([3.0, 0, 4])) == 1.0


def test_reversing_the_order_of_grades_keeps_kappa(drawn) -> None:
    counts = drawn[2]
    np.testing.assert_allclose(
        weighted_kappa(counts[:, ::-1, ::-1]), weighted_kappa(counts), atol=1e-13
    )


def test_counts_scale_out() -> None:
    counts = np.array([[5.0, 1, 0], [2, 7, 1], [0, 3, 6]])
    for metric in (accuracy, weighted_kappa):
        assert metric(10 * counts) == pytest.approx(metric(counts), abs=1e-14)
