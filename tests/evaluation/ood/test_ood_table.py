"""The out-of-distribution table: fitted on training rows, honest about what is missing."""

from dataclasses import replace

import numpy as np
import pytest

from offsite.errors import InputError
from offsite.evaluation.ood.settings import DETECTORS, OodSettings
from offsite.evaluation.ood.table import ood_table
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS

FAST = OodSettings(resamples=60)
KEYS = ["detector", "category", "site_role", "site", "metric"]


@pytest.fixture(scope="module")
def predictions(make_sites):
    return make_sites(
        {"a": 800, "b": 600, "same": 300, "moved": 300},
        moved={"moved": 4.0},
        held_out=("same", "moved"),
        per_patient=2,
    )


def cell(table, detector, category, site, metric):
    rows = table[
        (table.detector == detector)
        & (table.category == category)
        & (table.site == site)
        & (table.metric == metric)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_shifted_site_stands_out_and_an_equal_one_does_not(predictions):
    table = ood_table(Sites.of(predictions), FAST)
    for name in ("mahalanobis", "residual"):
        moved = cell(table, name, "covariate_shifted", "moved", "auroc")
        assert moved.value > 0.85
        assert moved.low < moved.value < moved.high
        same = cell(table, name, "covariate_shifted", "same", "auroc")
        assert same.low < 0.55
        assert same.high > 0.45
        rate = cell(table, name, "in_distribution", "_pooled", "flag_rate")
        assert rate.low < 0.06
        assert rate.high > 0.04
        assert cell(table, name, "covariate_shifted", "moved", "flag_rate").value > 0.5


def test_a_site_detector_need_not_detect_errors(predictions):
    table = ood_table(Sites.of(predictions), FAST)
    # The shift lies where the model does not look, so confidence knows the errors, not the site.
    assert cell(table, "msp", "error", "moved", "auroc").value > 0.7
    assert abs(cell(table, "msp", "covariate_shifted", "moved", "auroc").value - 0.5) < 0.06
    error = cell(table, "msp", "error", "moved", "auroc")
    assert (error.n, error.n_patients) == (300, 150)
    assert 0 < error.n_positive < 300


def test_keys_are_unique_and_nothing_is_nan(predictions):
    table = ood_table(Sites.of(predictions), replace_settings(detectors=tuple(DETECTORS)))
    assert tuple(table.columns) == SCHEMAS["ood"].columns
    assert not table.duplicated(KEYS).any()
    assert set(table.reason) <= {"ok", "interval_unstable"}
    heads = [name for name, kind in DETECTORS.items() if "head" in kind.needs]
    of_head = table[table.detector.isin(heads)]
    assert len(of_head) > 0
    assert (of_head.reason == "ok").all()  # the head was recovered for those that need it
    defined = table[table.reason == "ok"]
    for name in ("value", "low", "high", "n", "n_patients", "threshold"):
        assert np.isfinite(defined[name].astype(float)).all()
    assert ((defined.low <= defined.value) & (defined.value <= defined.high)).all()


def replace_settings(**values):
    return FAST.model_copy(update=values)


def test_test_rows_and_held_out_sites_change_no_threshold(predictions, make_sites):
    table = ood_table(Sites.of(predictions), FAST)
    scrambled = predictions.embeddings.copy()
    tested = (predictions.table["split"] == "test").to_numpy()
    scrambled[tested] = np.random.default_rng(1).normal(size=scrambled[tested].shape) * 9
    other = ood_table(Sites.of(replace(predictions, embeddings=scrambled)), FAST)
    columns = [*KEYS, "threshold", "threshold_from"]
    assert table[columns].equals(other[columns])
    assert set(table.threshold_from) == {"validation"}


def test_without_validation_rows_thresholds_are_cross_fitted_and_still_hold(make_sites):
    predictions = make_sites({"a": 900, "b": 900}, splits=(0.5, 0.0, 0.5), per_patient=3, seed=2)
    table = ood_table(Sites.of(predictions), FAST)
    assert set(table.threshold_from) == {"cross_fitted"}
    for name in FAST.detectors:
        rate = cell(table, name, "in_distribution", "_pooled", "flag_rate")
        assert 0.02 < rate.value < 0.08


def test_near_and_far_sets_have_rows_of_their_own(predictions, make_sites):
    far = make_sites({"photographs": 80, "animals": 60}, moved={"photographs": 30, "animals": 30})
    near = make_sites({"other_disease": 80}, moved={"other_disease": 2.5})
    table = ood_table(Sites.of(predictions), FAST, far=far, near=near)
    assert cell(table, "mahalanobis", "far", "photographs", "auroc").value == 1.0
    pooled = cell(table, "mahalanobis", "far", "_pooled", "auroc")
    assert (pooled.value, pooled.n, pooled.site_role) == (1.0, 140, "")
    near_auroc = cell(table, "mahalanobis", "near", "other_disease", "auroc").value
    assert 0.6 < near_auroc < 1.0
    assert cell(table, "mahalanobis", "far", "animals", "fpr_ood_at_95_id_kept").value == 0.0
    with pytest.raises(InputError, match="same model"):
        ood_table(Sites.of(predictions), FAST, far=make_sites({"x": 20}, classes=4))


def test_sites_without_what_is_needed_have_reasons_in_place_of_values(make_sites):
    predictions = make_sites(
        {"a": 600, "tiny": 4, "blank": 60, "one_class": 80},
        priors={"one_class": (1.0, 0.0, 0.0)},
        held_out=("tiny", "blank", "one_class"),
        unlabelled=("blank",),
        noise=0.2,
    )
    table = ood_table(Sites.of(predictions), FAST)
    assert cell(table, "residual", "covariate_shifted", "tiny", "auroc").reason == "too_few"
    few = cell(table, "residual", "covariate_shifted", "tiny", "flag_rate")
    assert (few.reason, few.value >= 0, np.isnan(few.low)) == ("too_few", True, True)
    assert cell(table, "residual", "error", "blank", "auroc").reason == "no_labels"
    assert cell(table, "residual", "error", "one_class", "auroc").reason == "single_class"
    assert cell(table, "residual", "covariate_shifted", "blank", "auroc").reason == "ok"
    undefined = table[~table.reason.isin(["ok", "interval_unstable", "too_few"])]
    assert undefined.value.isna().all()


def test_without_embeddings_or_logits_the_detectors_say_so(predictions):
    bare = replace(predictions, embeddings=None, logits=None)
    table = ood_table(
        Sites.of(bare), replace_settings(detectors=("residual", "energy", "react", "msp", "gen"))
    )
    reasons = table.groupby("detector").reason.unique().map(list).to_dict()
    assert reasons["residual"] == reasons["react"] == ["no_embeddings"]
    assert reasons["energy"] == ["no_logits"]
    full = ood_table(Sites.of(predictions), replace_settings(detectors=("msp", "gen")))
    for name in ("msp", "gen"):  # log probabilities serve as well as logits
        assert cell(table, name, "error", "moved", "auroc").value == pytest.approx(
            cell(full, name, "error", "moved", "auroc").value
        )
    headless = replace(predictions, logits=np.tanh(predictions.logits))
    table = ood_table(Sites.of(headless), replace_settings(detectors=("fdbd",)))
    assert set(table.reason) == {"no_head"}


def test_predictions_of_test_rows_alone_still_give_a_table(make_sites):
    predictions = make_sites({"a": 60, "b": 60}, held_out=("a", "b"))
    table = ood_table(Sites.of(predictions), FAST)
    assert set(table.reason) == {"no_samples"}
    assert table.value.isna().all()


def test_the_same_seed_gives_the_same_table(predictions):
    settings = replace_settings(detectors=("knn", "msp"))
    assert ood_table(Sites.of(predictions), settings).equals(
        ood_table(Sites.of(predictions), settings)
    )


def test_a_collapsed_model_has_a_reason_and_no_crash(predictions):
    flat = replace(predictions, embeddings=np.ones_like(predictions.embeddings))
    table = ood_table(Sites.of(flat), FAST)
    reasons = table.groupby("detector").reason.unique().map(list).to_dict()
    assert (
        reasons["mahalanobis"] == reasons["residual"] == reasons["knn"] == ["constant_embeddings"]
    )
    assert reasons["msp"] == ["ok"]
    # Constant within each class: nothing to whiten by, though the features do vary.
    labels = predictions.labels[:, None].astype(float)
    table = ood_table(Sites.of(replace(predictions, embeddings=np.repeat(labels, 8, axis=1))), FAST)
    assert set(table.reason[table.detector == "mahalanobis"]) == {"constant_embeddings"}
