"""Decision curves by their definition."""

import numpy as np
import pytest

from offsite.evaluation.operating_points.net_benefit import decision_curve, net_benefit_table
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.sites import Sites

QUICK = EvaluationSettings(resamples=100, net_benefit_thresholds=(0.1, 0.3, 0.5))


def test_net_benefit_by_hand() -> None:
    scores = np.array([0.9, 0.6, 0.4, 0.2])
    positive = np.array([True, False, True, False])
    ones = np.ones((1, 4), dtype=np.uint8)
    model, treat_all = decision_curve(scores, positive, np.arange(4), ones, np.array([0.25, 0.5]))
    np.testing.assert_allclose(model, [[2 / 4 - 1 / 4 / 3, 1 / 4 - 1 / 4]])
    np.testing.assert_allclose(treat_all, [[0.5 - 0.5 / 3, 0.0]])


def test_a_score_that_flags_everyone_is_treating_all() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(50) < 0.3
    counts = rng.multinomial(50, np.full(50, 0.02), size=5).astype(np.uint8)
    model, treat_all = decision_curve(
        np.ones(50), positive, np.arange(50), counts, np.array([0.2, 0.7])
    )
    np.testing.assert_allclose(model, treat_all, atol=1e-14)


def test_a_useful_model_beats_both_defaults_and_undefined_sites_say_why(make_sites) -> None:
    rows = make_sites(
        {"a": 300, "blank": 20}, held_out=("a", "blank"), unlabelled=("blank",), classes=2
    )
    table = net_benefit_table(Sites.of(rows, QUICK))
    own = table[table["site"] == "a"]
    assert own["threshold"].tolist() == [0.1, 0.3, 0.5]
    assert (own["advantage_low"].iloc[1:] > 0).all()
    best = np.maximum(own["treat_all"], own["treat_none"])
    np.testing.assert_allclose(own["advantage"], own["net_benefit"] - best, atol=1e-14)
    assert own["net_benefit"].between(own["low"], own["high"]).all()
    blank = table[table["site"] == "blank"]
    assert set(blank["reason"]) == {"no_labels"}
    assert blank["net_benefit"].isna().all()


def test_noise_has_no_advantage(make_sites) -> None:
    rows = make_sites({"a": 400}, held_out=("a",), classes=2)
    shuffled = rows.probabilities[np.random.default_rng(0).permutation(400)]
    noise = type(rows)(
        table=rows.table, classes=rows.classes, probabilities=shuffled, labels=rows.labels
    )
    table = net_benefit_table(Sites.of(noise, QUICK))
    assert (table["advantage_low"] <= 0).all()
    assert table["advantage"].max() == pytest.approx(0, abs=0.06)
