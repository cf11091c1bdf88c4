"""Thresholds from validation rows alone, carried to sites where they do not hold."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from offsite.evaluation.metrics.thresholds import needed_threshold
from offsite.evaluation.operating_points.choosing import (
    Threshold,
    choose_threshold,
    choose_thresholds,
)
from offsite.evaluation.operating_points.table import METRICS, operating_point_table
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.sites import Sites

TASK = TaskSettings(
    positive_classes=("c1",),
    target_sensitivity=0.9,
    cost_false_negative=5,
    reference_prevalence=0.2,
)
QUICK = EvaluationSettings(resamples=100, tasks={"ill": TASK})


@pytest.fixture(scope="module")
def predictions(make_sites) -> Predictions:
    rows = make_sites(
        {"home": 800, "away": 200, "one": 40, "blank": 20},
        priors={"one": (1.0, 0.0)},
        unlabelled=("blank",),
        held_out=("away", "one", "blank"),
        classes=2,
        noise=1.6,
    )
    # The held-out site's camera makes every image look healthier.
    away = (rows.table["site"] == "away").to_numpy()
    odds = rows.probabilities.copy()
    odds[away, 1] *= 0.3
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    return Predictions(
        table=rows.table, classes=rows.classes, probabilities=probabilities, labels=rows.labels
    )


@pytest.fixture(scope="module")
def table(predictions: Predictions) -> pd.DataFrame:
    return operating_point_table(Sites.of(predictions, QUICK))


def at(table: pd.DataFrame, rule: str, site: str, metric: str) -> pd.Series:
    rows = table[table["rule"].eq(rule) & table["site"].eq(site) & table["metric"].eq(metric)]
    assert len(rows) == 1
    return rows.iloc[0]


def rows_of(predictions: Predictions, site: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    own = predictions.table["site"].eq(site) & predictions.table["split"].eq(split)
    return predictions.probabilities[own, 1], predictions.labels[own] == 1


def test_the_threshold_is_the_highest_that_reaches_the_target(predictions: Predictions) -> None:
    scores, positive = rows_of(predictions, "home", "val")
    found = choose_threshold(scores, positive, np.arange(len(scores)), 0.9)
    assert (scores[positive] >= found).mean() >= 0.9
    higher = np.sort(scores[positive])[np.sort(scores[positive]) >= found][0] + 1e-12
    assert (scores[positive] >= higher).mean() < 0.9


def test_a_wanted_share_that_is_met_exactly_asks_for_no_more() -> None:
    scores = np.arange(10) / 10
    found = choose_threshold(scores, np.ones(10, dtype=bool), np.arange(10), 0.9)
    assert 0.0 < found < 0.1
    assert choose_threshold(scores, scores >= 0.5, np.arange(10), 0.8) == pytest.approx(0.55)


def test_the_confident_threshold_has_a_lower_bound_at_the_target() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    positive = np.ones(200, dtype=bool)
    found = choose_threshold(scores, positive, np.arange(200), 0.9, confidence=0.95)
    caught = int((scores >= found).sum())
    assert beta.ppf(0.05, caught, 200 - caught + 1) >= 0.9
    assert beta.ppf(0.05, caught - 1, 200 - caught + 2) < 0.9


def test_few_positives_cannot_give_a_confident_threshold() -> None:
    """All 20 of 20 caught leaves a lower bound of .861."""
    scores = np.linspace(0.1, 0.9, 20)
    rows = np.ones(20, dtype=bool), np.arange(20)
    assert choose_threshold(scores, *rows, 0.9, confidence=0.95) is None
    assert choose_threshold(scores, *rows, 0.85, confidence=0.95) is not None


def test_rows_of_one_patient_do_not_add_confidence() -> None:
    rng = np.random.default_rng(1)
    scores, positive = rng.random(60), np.ones(60, dtype=bool)
    alone = choose_threshold(scores, positive, np.arange(60), 0.9, confidence=0.95)
    five = choose_threshold(
        np.repeat(scores, 5), np.repeat(positive, 5), np.repeat(np.arange(60), 5), 0.9, 0.95
    )
    ignored = choose_threshold(
        np.repeat(scores, 5), np.repeat(positive, 5), np.arange(300), 0.9, 0.95
    )
    assert five == pytest.approx(alone, abs=0.02)
    assert ignored > five


def test_only_validation_rows_of_training_sites_choose(predictions: Predictions) -> None:
    chosen = choose_thresholds(Sites.of(predictions, QUICK))
    test = predictions.table["split"].eq("test").to_numpy()
    labels = np.where(test, 1 - predictions.labels, predictions.labels)
    probabilities = np.where(test[:, None], 0.5, predictions.probabilities)
    other = Predictions(
        table=predictions.table,
        classes=predictions.classes,
        probabilities=probabilities,
        labels=labels,
    )
    assert choose_thresholds(Sites.of(other, QUICK)) == chosen
    assert [threshold.rule for threshold in chosen] == ["stated", "point", "confident"]
    values = {threshold.rule: threshold.value for threshold in chosen}
    assert values["confident"] < values["point"]


def test_the_transfer_gap_shows_what_was_promised_and_not_kept(
    table: pd.DataFrame, predictions: Predictions
) -> None:
    scores, positive = rows_of(predictions, "away", "test")
    sensitivity = at(table, "point", "away", "sensitivity")
    threshold = sensitivity["threshold"]
    assert sensitivity["value"] == pytest.approx((scores[positive] >= threshold).mean())
    gap = at(table, "point", "away", "transfer_gap")
    assert gap["value"] == pytest.approx(0.9 - sensitivity["value"])
    assert gap["low"] == pytest.approx(0.9 - sensitivity["high"])
    assert gap["low"] > 0.05
    assert abs(at(table, "point", "_chosen", "transfer_gap")["value"]) < 0.02


def test_the_needed_threshold_reaches_the_target_there(
    table: pd.DataFrame, predictions: Predictions
) -> None:
    scores, positive = rows_of(predictions, "away", "test")
    needed = at(table, "point", "away", "needed_threshold")
    assert needed["value"] < needed["threshold"]
    assert (scores[positive] >= needed["value"]).mean() >= 0.9
    assert (scores[positive] > needed["value"]).mean() < 0.9
    assert at(table, "point", "away", "specificity_at_needed")["value"] == pytest.approx(
        (scores[~positive] < needed["value"]).mean()
    )


def test_needed_thresholds_of_draws_equal_those_of_the_resampled_rows() -> None:
    rng = np.random.default_rng(2)
    scores, positive, units = rng.random(80).round(1), rng.random(80) < 0.4, np.arange(80) // 2
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=10).astype(np.uint8)
    thresholds, specificities = needed_threshold(scores, positive, units, counts, 0.8)
    for draw, cut, specificity in zip(counts, thresholds, specificities, strict=True):
        rows = np.repeat(np.arange(80), draw[units])
        drawn, truth = scores[rows], positive[rows]
        reached = [value for value in np.unique(drawn) if (drawn[truth] >= value).mean() >= 0.8]
        assert cut == max(reached)
        assert specificity == pytest.approx((drawn[~truth] < cut).mean(), abs=1e-14)


def test_predictive_values_and_cost_at_the_reference_prevalence(table: pd.DataFrame) -> None:
    sensitivity, specificity = (
        at(table, "point", "away", name)["value"] for name in ("sensitivity", "specificity")
    )
    caught, alarms = 0.2 * sensitivity, 0.8 * (1 - specificity)
    assert at(table, "point", "away", "ppv_at_reference")["value"] == pytest.approx(
        caught / (caught + alarms)
    )
    cost = 5 * 0.2 * (1 - sensitivity) + alarms
    assert at(table, "point", "away", "expected_cost_at_reference")["value"] == pytest.approx(cost)


def test_expected_cost_counts_errors(table: pd.DataFrame, predictions: Predictions) -> None:
    scores, positive = rows_of(predictions, "away", "test")
    flagged = scores >= 0.5
    wanted = (5 * (positive & ~flagged).sum() + (~positive & flagged).sum()) / len(scores)
    assert at(table, "stated", "away", "expected_cost")["value"] == pytest.approx(wanted)


def test_a_site_of_one_class_and_one_without_labels(table: pd.DataFrame) -> None:
    assert at(table, "point", "one", "sensitivity")["reason"] == "no_samples"
    assert at(table, "point", "one", "needed_threshold")["reason"] == "single_class"
    assert at(table, "point", "one", "ppv_at_reference")["reason"] == "single_class"
    assert at(table, "point", "one", "specificity")["reason"] == "ok"
    assert set(table[table["site"] == "blank"]["reason"]) == {"no_labels"}
    assert np.isfinite(table["value"].dropna()).all()


def test_without_validation_rows_the_stated_threshold_remains(make_sites) -> None:
    rows = make_sites({"a": 100}, held_out=("a",), classes=2)
    found = operating_point_table(Sites.of(rows, QUICK))
    by_rule = found[found["site"] == "a"].groupby("rule")["value"].count()
    assert by_rule["stated"] == len(METRICS)
    assert (by_rule["point"], by_rule["confident"]) == (0, 0)
    assert set(found[found["rule"] == "point"]["reason"]) == {"no_samples"}


def test_a_threshold_chosen_earlier_is_carried_as_it_is(predictions: Predictions) -> None:
    packaged = [
        Threshold(task="ill", rule="point", target_sensitivity=0.9, value=0.123, n_positive=77)
    ]
    found = operating_point_table(Sites.of(predictions, QUICK), packaged)
    assert set(found["threshold"]) == {0.123}
    assert set(found["chosen_n_positive"]) == {77}
