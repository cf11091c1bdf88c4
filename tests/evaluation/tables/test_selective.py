"""Risk and coverage: areas against sums over cases and known identities."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from offsite.evaluation.settings import SelectiveSettings
from offsite.evaluation.statistics.risk_coverage import RiskCoverage
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.selective import risk_coverage_table, selective_table

FAST = SelectiveSettings(resamples=60)


def cases(seed=0, n=120, ties=False):
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    if ties:
        confidence = np.round(confidence * 8) / 8
    return confidence, rng.random(n) < 0.6 * (1 - confidence)


def plain_aurc(wrong):
    return np.mean([wrong[: k + 1].mean() for k in range(len(wrong))])


def test_areas_equal_sums_over_cases():
    confidence, wrong = cases()
    ordered = wrong[np.argsort(-confidence)]
    curve = RiskCoverage.of(confidence, wrong)
    assert curve.aurc()[0] == pytest.approx(plain_aurc(ordered))
    best = plain_aurc(np.sort(wrong))
    assert curve.excess_aurc()[0] == pytest.approx(plain_aurc(ordered) - best)
    joint = np.r_[0, np.cumsum(ordered)] / len(wrong)
    trapezoid = ((joint[1:] + joint[:-1]) / 2).mean()
    assert curve.augrc()[0] == pytest.approx(trapezoid)


def test_ties_count_as_the_mean_over_their_orders():
    confidence, wrong = cases(1, 30, ties=True)
    curve = RiskCoverage.of(confidence, wrong)
    rng = np.random.default_rng(2)
    orders = [np.lexsort((rng.random(30), -confidence)) for _ in range(2000)]
    simulated = np.mean([plain_aurc(wrong[order]) for order in orders])
    assert curve.aurc()[0] == pytest.approx(simulated, abs=2e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_augrc_is_tied_to_accuracy_and_error_detection(ties):
    confidence, wrong = cases(3, 200, ties)
    accuracy = 1 - wrong.mean()
    auroc = roc_auc_score(wrong, -confidence)
    expected = (1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert RiskCoverage.of(confidence, wrong).augrc()[0] == pytest.approx(expected)


def test_accuracy_at_coverage_counts_the_most_confident():
    confidence, wrong = cases(4, 100)
    ordered = wrong[np.argsort(-confidence)]
    curve = RiskCoverage.of(confidence, wrong)
    for coverage in (0.5, 0.8, 0.9, 1.0):
        expected = 1 - ordered[: round(100 * coverage)].mean()
        assert curve.accuracy_at(coverage)[0] == pytest.approx(expected)


def test_weights_equal_repeated_cases():
    confidence, wrong = cases(5, 80, ties=True)
    weights = np.random.default_rng(6).integers(0, 4, size=(3, 80))
    curve = RiskCoverage.of(confidence, wrong, weights)
    for index, row in enumerate(weights):
        again = RiskCoverage.of(np.repeat(confidence, row), np.repeat(wrong, row))
        for name in ("aurc", "excess_aurc", "augrc"):
            assert getattr(curve, name)()[index] == pytest.approx(getattr(again, name)()[0])
        assert curve.accuracy_at(0.8)[index] == pytest.approx(again.accuracy_at(0.8)[0])


def test_a_perfect_and_a_useless_confidence():
    wrong = np.arange(100) >= 80
    perfect = RiskCoverage.of(-np.arange(100.0), wrong)
    assert perfect.excess_aurc()[0] == pytest.approx(0, abs=1e-12)
    assert perfect.accuracy_at(0.8)[0] == 1.0
    useless = RiskCoverage.of(np.zeros(100), wrong)
    assert useless.aurc()[0] == pytest.approx(0.2)
    assert useless.augrc()[0] == pytest.approx(0.1)


@pytest.fixture(scope="module")
def predictions(make_sites):
    return make_sites(
        {"a": 900, "b": 900, "new": 200, "blank": 30, "tiny": 4, "sure": 60},
        held_out=("new", "blank", "tiny", "sure"),
        unlabelled=("blank",),
        moved={"new": 1.0},
        priors={"sure": (1.0, 0.0, 0.0)},
        per_patient=2,
    )


def cell(table, site, metric, role="held_out"):
    rows = table[(table.site == site) & (table.metric == metric) & (table.site_role == role)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_table_has_every_metric_of_every_site(predictions):
    table = selective_table(Sites.of(predictions), FAST)
    assert not table.duplicated(["site", "site_role", "metric"]).any()
    assert table.groupby(["site", "site_role"]).size().unique().tolist() == [10]
    accuracy = cell(table, "new", "accuracy")
    better = cell(table, "new", "accuracy_at_80")
    assert better.value > accuracy.value
    assert accuracy.low < accuracy.value < accuracy.high
    assert (accuracy.n, accuracy.n_patients) == (200, 100)
    mask = (predictions.table["site"] == "new").to_numpy()
    wrong = predictions.probabilities[mask].argmax(axis=1) != predictions.labels[mask]
    assert accuracy.n_positive == wrong.sum()


def test_carried_thresholds_keep_what_they_promise_where_nothing_shifted(predictions):
    table = selective_table(Sites.of(predictions), FAST)
    for coverage in (80, 90):
        row = cell(table, "_pooled", f"coverage_at_threshold_{coverage}", "training")
        assert row.value == pytest.approx(coverage / 100, abs=0.06)
        kept = cell(table, "_pooled", f"accuracy_at_threshold_{coverage}", "training")
        assert kept.value > cell(table, "_pooled", "accuracy", "training").value


def test_sites_without_labels_or_cases_have_reasons(predictions):
    table = selective_table(Sites.of(predictions), FAST)
    assert set(table.reason[table.site == "blank"]) == {"no_labels"}
    assert set(table.reason[table.site == "tiny"]) == {"too_few"}
    assert table.value[table.reason != "ok"].isna().all()
    assert "NaN" not in table.to_json()


def test_curves_rise_to_full_coverage_and_end_at_the_error_rate(predictions):
    curves = risk_coverage_table(Sites.of(predictions), FAST)
    table = selective_table(Sites.of(predictions), FAST)
    assert set(curves.site) == {"_pooled", "a", "b", "new", "sure"}
    for (site, role), curve in curves.groupby(["site", "site_role"]):
        assert len(curve) <= FAST.points
        assert (np.diff(curve.coverage.astype(float)) > 0).all()
        assert (np.diff(curve.threshold.astype(float)) < 0).all()
        last = curve.iloc[-1]
        assert last.coverage == 1.0
        assert last.selective_risk == pytest.approx(last.generalized_risk)
        assert 1 - last.selective_risk == pytest.approx(cell(table, site, "accuracy", role).value)


def test_a_site_without_calibration_rows_has_no_carried_threshold(make_sites):
    predictions = make_sites({"a": 100}, held_out=("a",))
    table = selective_table(Sites.of(predictions), FAST)
    assert cell(table, "a", "accuracy_at_threshold_80").reason == "no_samples"
    assert cell(table, "a", "accuracy_at_80").reason == "ok"


def test_a_site_without_an_error_is_not_said_to_be_certain(make_sites):
    rows = make_sites({"home": 200, "small": 12}, held_out=("small",), noise=0.1)
    table = selective_table(Sites.of(rows), SelectiveSettings(resamples=50))
    perfect = table[(table["site"] == "small") & (table["metric"] == "accuracy_at_80")].iloc[0]
    assert perfect["value"] == 1.0
    assert pd.isna(perfect["low"])
    assert perfect["reason"] == "interval_unstable"
