"""Exact intervals, clustered ones, and which rows may do what."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.statistics.binomial import (
    clustered_interval,
    effective_counts,
    exact_interval,
)


@pytest.mark.parametrize(("k", "n"), [(0, 12), (12, 12), (3, 12), (190, 200)])
def test_the_exact_interval_equals_scipys(k, n):
    oracle = binomtest(k, n).proportion_ci(0.9, method="exact")
    assert exact_interval(k, n, 0.9) == pytest.approx((oracle.low, oracle.high))


def test_without_clusters_the_clustered_interval_is_the_exact_one():
    hits = np.arange(50) < 12
    assert clustered_interval(hits, np.arange(50)) == exact_interval(12, 50)


def test_agreeing_clusters_are_worth_one_row_each():
    hits = np.repeat(np.arange(40) < 10, 5)
    successes, trials = effective_counts(hits, np.repeat(np.arange(40), 5))
    assert successes / trials == pytest.approx(0.25)
    assert 36 < trials < 40  # a little under 40, by the t correction
    assert effective_counts(np.ones(30), np.repeat(np.arange(6), 5)) == (6.0, 6.0)
    assert effective_counts(np.zeros(30), np.repeat(np.arange(6), 5)) == (0.0, 6.0)


def test_independent_rows_in_clusters_keep_their_number():
    rng = np.random.default_rng(1)
    sizes = [
        effective_counts(rng.random(400) < 0.3, np.repeat(np.arange(100), 4))[1] for _ in range(50)
    ]
    assert 330 < np.mean(sizes) <= 400


def table(rows):
    return pd.DataFrame(rows, columns=["split", "site", "site_role"])


def test_roles_follow_split_and_site_role():
    roles = roles_of(
        table(
            [
                ("train", "a", "training"),
                ("val", "a", "training"),
                ("test", "a", "training"),
                ("test", "b", "held_out"),
                ("train", "b", "held_out"),  # never fitted on, whatever its split says
            ]
        )
    )
    np.testing.assert_array_equal(roles.fit, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(roles.calibrate, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(roles.test, [0, 0, 1, 1, 0])
    assert roles.test_sites(np.array(["a", "a", "a", "b", "b"])) == [
        ("a", "training"),
        ("b", "held_out"),
    ]


def test_unknown_roles_are_told_from_the_splits():
    rows = [("train", "a", "unknown"), ("test", "a", "unknown"), ("test", "b", "unknown")]
    roles = roles_of(table(rows))
    assert roles.site_role.tolist() == ["training", "training", "held_out"]
    np.testing.assert_array_equal(roles_of(table(rows)[["split", "site"]]).fit, roles.fit)


def test_a_patients_answer_counts_once():
    rows = table([("train", "a", "training"), ("val", "a", "training"), ("test", "a", "training")])
    slides = rows.loc[rows.index.repeat(3)].assign(patient=np.repeat(["p", "q", "r"], 3))
    slides["image"] = [f"{number}.svs" for number in (2, 1, 3, 4, 5, 6, 9, 8, 7)]
    plain, pooled = roles_of(slides), roles_of(slides.assign(slide_label="x"))
    for mask in ("fit", "calibrate", "test"):
        assert getattr(plain, mask).sum() == 3
    assert (pooled.fit.sum(), pooled.calibrate.sum(), pooled.test.sum()) == (1, 1, 1)
    chosen = pooled.fit | pooled.calibrate | pooled.test
    assert slides["image"][chosen].tolist() == ["1.svs", "4.svs", "7.svs"]
