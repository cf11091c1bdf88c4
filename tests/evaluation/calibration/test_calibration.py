"""Calibrators recover what was distorted, and are measured at sites that did not fit them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from offsite.evaluation.calibration.calibrators import (
    KINDS,
    fit_calibrator,
    fit_calibrators,
    logits_of,
)
from offsite.evaluation.calibration.table import (
    METRICS,
    calibrated,
    calibration_tables,
)
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.sites import Sites

QUICK = EvaluationSettings(
    resamples=100,
    calibration_simulations=200,
    calibration_bins=10,
    tasks={"ill": TaskSettings(positive_classes=("c1", "c2"))},
)


@pytest.fixture(scope="module")
def predictions(make_sites) -> Predictions:
    """A calibrated model whose logits are then tripled: over-confident everywhere."""
    rows = make_sites(
        {"home": 1600, "other": 800, "away": 300, "few": 30, "one": 30, "blank": 15},
        held_out=("away", "few", "one", "blank"),
        unlabelled=("blank",),
        priors={"one": (1.0, 0.0, 0.0)},
        noise=1.5,
    )
    assert rows.logits is not None
    return replace(rows, logits=3 * rows.logits, probabilities=softmax(3 * rows.logits, axis=1))


@pytest.fixture(scope="module")
def table(predictions: Predictions) -> pd.DataFrame:
    return calibration_tables(Sites.of(predictions, QUICK))["calibration"]


def at(table: pd.DataFrame, calibrator: str, site: str, metric: str, task: str = "ill"):
    rows = table[
        table["calibrator"].eq(calibrator)
        & table["site"].eq(site)
        & table["metric"].eq(metric)
        & table["task"].eq(task)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


def test_temperature_undoes_a_tripling(predictions: Predictions) -> None:
    found = fit_calibrators(predictions)["temperature"]
    assert np.ptp(found.slope) == 0
    assert found.slope[0, 0] == pytest.approx(1 / 3, abs=0.05)
    assert (found.intercept == 0).all()


def test_platt_of_two_classes_is_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    margin = rng.normal(size=3000)
    labels = (rng.random(3000) < expit(0.7 * margin - 0.4)).astype(int)
    logits = np.column_stack([-margin / 2, margin / 2])
    found = fit_calibrator("platt", logits, labels).apply(logits)[:, 1]
    oracle = LogisticRegression(C=np.inf).fit(margin[:, None], labels)
    np.testing.assert_allclose(found, oracle.predict_proba(margin[:, None])[:, 1], atol=2e-3)


@pytest.mark.parametrize("kind", ["temperature", "vector", "platt"])
def test_no_calibrator_raises_the_loss_it_was_fitted_on(kind, predictions: Predictions) -> None:
    rows = predictions.labels >= 0
    logits, labels = logits_of(predictions)[rows], predictions.labels[rows]

    def loss(probabilities: np.ndarray) -> float:
        return float(-np.log(probabilities[np.arange(len(labels)), labels]).sum())

    found = fit_calibrator(kind, logits, labels)
    assert loss(found.apply(logits)) < loss(softmax(logits, axis=1))
    np.testing.assert_allclose(found.apply(logits).sum(axis=1), 1, atol=1e-12)


def test_calibration_never_turns_the_order_round() -> None:
    logits = np.column_stack([np.zeros(60), np.linspace(-3, 3, 60)])
    backwards = (logits[:, 1] < 0).astype(int)
    found = fit_calibrator("platt", logits, backwards)
    assert (np.diff(found.apply(logits)[:, 1]) > 0).all()


def test_separated_or_absent_classes_keep_finite_parameters() -> None:
    logits = np.column_stack([np.r_[np.ones(20), np.zeros(20)] * 9, np.zeros(40), np.zeros(40)])
    labels = np.repeat([0, 1], 20)
    for kind in KINDS:
        found = fit_calibrator(kind, logits, labels)
        assert np.abs(found.slope).max() < 50
        assert np.abs(found.intercept).max() < 50


def test_a_site_has_its_own_row_and_a_new_site_the_common_one() -> None:
    rng = np.random.default_rng(1)
    sites = np.repeat(["a", "b", "tiny"], [400, 400, 5])
    margin = rng.normal(size=805)
    shift = np.where(sites == "b", 2.0, 0.0)
    labels = (rng.random(805) < expit(margin + shift)).astype(int)
    logits = np.column_stack([np.zeros(805), margin])
    found = fit_calibrator("site_platt", logits, labels, sites)
    assert found.sites == ("", "a", "b")
    common = fit_calibrator("platt", logits, labels)
    probe = np.zeros((4, 2))
    p = found.apply(probe, np.array(["a", "b", "tiny", "new"]))[:, 1]
    assert p[0] == pytest.approx(0.5, abs=0.08)
    assert p[1] == pytest.approx(expit(2), abs=0.05)
    assert p[2] == p[3] == pytest.approx(common.apply(probe)[0, 1], abs=1e-9)


def test_probabilities_stand_in_for_missing_logits(predictions: Predictions) -> None:
    bare = replace(predictions, logits=None)
    np.testing.assert_allclose(
        log_softmax(logits_of(bare), axis=1),
        np.maximum(log_softmax(logits_of(predictions), axis=1), np.log(1e-12)),
        atol=1e-6,
    )


def test_test_labels_never_reach_a_calibrator(predictions: Predictions) -> None:
    test = predictions.table["split"].eq("test").to_numpy()
    labels = np.where(test & (predictions.labels >= 0), 0, predictions.labels)
    other = fit_calibrators(replace(predictions, labels=labels))
    for kind, found in fit_calibrators(predictions).items():
        np.testing.assert_array_equal(other[kind].slope, found.slope)


def test_calibration_helps_where_the_distortion_is_the_same(table: pd.DataFrame) -> None:
    before, after = at(table, "none", "away", "ece"), at(table, "temperature", "away", "ece")
    assert before["excess"] > 0.02
    assert after["excess"] < 0.01
    assert after["value"] < before["value"] / 2
    assert at(table, "none", "away", "slope")["high"] < 0.5
    slope = at(table, "temperature", "away", "slope")
    assert slope["low"] < 1 < slope["high"]
    assert abs(at(table, "none", "away", "spiegelhalter_z")["value"]) > 4
    assert abs(at(table, "temperature", "away", "spiegelhalter_z")["value"]) < 2.5
    for metric in ("brier", "log_loss"):
        assert (
            at(table, "temperature", "away", metric)["value"]
            < at(table, "none", "away", metric)["value"]
        )


def test_a_small_site_has_a_wide_band(table: pd.DataFrame) -> None:
    few, away = (at(table, "temperature", site, "ece") for site in ("few", "away"))
    assert few["null_high"] > 2 * away["null_high"]
    assert few["excess"] == max(0.0, few["value"] - few["null_high"])


def test_undefined_sites_say_why(table: pd.DataFrame) -> None:
    assert at(table, "none", "one", "slope")["reason"] == "single_class"
    assert at(table, "none", "one", "ece")["reason"] == "ok"
    blank = table[table["site"] == "blank"]
    assert set(blank["reason"]) == {"no_labels"}
    assert set(blank["metric"]) == set(METRICS)
    assert not np.isinf(table[["value", "low", "high", "excess"]].to_numpy()).any()


def test_every_calibrator_task_and_site_has_every_metric(table: pd.DataFrame) -> None:
    assert set(table["calibrator"]) == {"none", *KINDS}
    assert set(table["task"]) == {"ill", "_top"}
    keys = ["task", "calibrator", "site", "site_role"]
    assert (table.groupby(keys).size() == len(METRICS)).all()


def test_without_validation_rows_only_the_plain_model_is_measured(make_sites) -> None:
    rows = make_sites({"a": 60}, held_out=("a",))
    assert fit_calibrators(rows) == {}
    assert set(calibration_tables(Sites.of(rows, QUICK))["calibration"]["calibrator"]) == {"none"}


def test_reliability_curves_cover_all_rows_and_bracket_what_was_seen(
    predictions: Predictions, table: pd.DataFrame
) -> None:
    curves = calibration_tables(Sites.of(predictions, QUICK))["reliability"]
    own = curves[curves["site"].eq("away") & curves["task"].eq("ill")]
    plain = own[own["calibrator"] == "none"]
    assert plain["n"].sum() == 300
    assert plain["probability"].is_monotonic_increasing
    assert plain["observed"].between(plain["low"], plain["high"]).all()
    gaps = (plain["observed"] - plain["probability"]).abs() * plain["n"] / 300
    assert gaps.sum() == pytest.approx(at(table, "none", "away", "ece")["value"], abs=1e-12)
    inside = own[own["calibrator"] == "temperature"]
    assert inside["observed"].between(inside["band_low"], inside["band_high"]).mean() > 0.7
    assert plain["observed"].between(plain["band_low"], plain["band_high"]).mean() < 0.7


def test_calibrated_predictions_keep_everything_else(predictions: Predictions) -> None:
    found = calibrated(predictions, fit_calibrators(predictions)["vector"])
    assert found.table is predictions.table
    np.testing.assert_array_equal(found.labels, predictions.labels)
    assert calibrated(predictions, None) is predictions


def test_slides_that_repeat_an_answer_do_not_narrow_the_band(make_sites) -> None:
    rows = make_sites({"home": 400, "a": 60}, held_out=("a",), classes=2)
    slides = rows.select(np.repeat(np.arange(len(rows)), 6))
    slides.table["slide_label"] = slides.table["label"]
    slides.table["image"] = np.arange(len(slides)).astype(str)
    settings = EvaluationSettings(resamples=100)
    one, six = (
        calibration_tables(Sites.of(each, settings))["calibration"].set_index(
            ["task", "calibrator", "site", "metric"]
        )
        for each in (rows, slides)
    )
    for metric in ("ece", "ece_debiased"):
        before, after = (found.loc[("c1", "none", "a", metric)] for found in (one, six))
        assert after["null_high"] > 0.7 * before["null_high"]
    # The calibrators rest on the same patients, each of them once.
    before, after = (found.loc[("c1", "platt", "a", "brier")] for found in (one, six))
    assert after["value"] == pytest.approx(before["value"], abs=1e-9)
