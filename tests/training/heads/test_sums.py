"""A head fitted to sums is the head fitted to the rows."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from offsite.training.heads.sums import RowSums, fit_grades, together


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, 300)
    x = draw.normal(size=(300, 12)) * np.geomspace(0.01, 100, 12) + 3
    x[:, 4] += labels
    return x, labels, draw.uniform(0.2, 2, 300)


def sums(x, labels, weights):
    return RowSums.of(x, labels, weights, 4)


def test_it_is_ridge_regression_of_the_grade_on_standardised_features(rows):
    x, labels, weights = rows
    mean = np.average(x, axis=0, weights=weights)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    for penalty, (slope, start) in zip(
        (0.1, 2.0), fit_grades(sums(*rows), (0.1, 2.0)), strict=True
    ):
        ridge = Ridge(alpha=penalty * weights.sum()).fit((x - mean) / deviation, labels, weights)
        np.testing.assert_allclose(slope * deviation, ridge.coef_, rtol=1e-6)
        np.testing.assert_allclose(
            x @ slope + start, ridge.predict((x - mean) / deviation), atol=1e-8
        )


def test_sums_of_parts_are_the_sums_of_all_in_any_order(rows):
    x, labels, weights = rows
    parts = [sums(x[n::3], labels[n::3], weights[n::3]) for n in range(3)]
    whole = sums(*rows)
    for found in (together(parts), together(parts[::-1])):
        np.testing.assert_allclose(found.second, whole.second, rtol=1e-10)
        np.testing.assert_allclose(found.sums, whole.sums, rtol=1e-10)
    slope, _ = fit_grades(together(parts), [1.0])[0]
    np.testing.assert_allclose(slope, fit_grades(whole, [1.0])[0][0], rtol=1e-8)


def test_taking_rows_out_gives_the_head_that_never_had_them(rows):
    x, labels, weights = rows
    left = sums(*rows) - sums(x[:40], labels[:40], weights[:40])
    never = sums(x[40:], labels[40:], weights[40:])
    np.testing.assert_allclose(
        fit_grades(left, [0.5])[0][0], fit_grades(never, [0.5])[0][0], rtol=1e-8
    )


def test_weights_count_as_rows_and_their_scale_does_not(rows):
    x, labels, _ = rows
    twice = sums(np.concatenate([x, x[:50]]), np.concatenate([labels, labels[:50]]), np.ones(350))
    heavy = sums(x, labels, np.where(np.arange(300) < 50, 2.0, 1.0))
    np.testing.assert_allclose(twice.second, heavy.second)
    np.testing.assert_allclose(
        fit_grades(heavy.scaled(7.0), [1.0])[0][0], fit_grades(heavy, [1.0])[0][0], rtol=1e-9
    )


def test_a_feature_that_never_varies_gets_no_weight(rows):
    x, labels, weights = rows
    x = np.column_stack([x, np.full(len(x), 5.0)])
    slope, start = fit_grades(sums(x, labels, weights), [1.0])[0]
    assert abs(slope[-1]) < 1e-6
    assert np.isfinite(start)


def test_sums_go_through_arrays_and_back(rows):
    whole = sums(*rows)
    back = RowSums.from_arrays(whole.arrays())
    np.testing.assert_allclose(back.second, whole.second, rtol=1e-12)
    np.testing.assert_array_equal(back.sums, whole.sums)
    with pytest.raises(ValueError, match="shapes"):
        RowSums.from_arrays({**whole.arrays(), "sums": whole.sums[:, :3]})
