"""The per-site table: right numbers, honest gaps, and no site that leans on another."""

import io

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, cohen_kappa_score, log_loss, roc_auc_score

from offsite.errors import InputError
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.measured import request_of
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.per_site import confusion_table, measured_site, per_site_table
from offsite.evaluation.tables.schemas import SCHEMAS

QUICK = EvaluationSettings(
    resamples=100, tasks={"ill": TaskSettings(positive_classes=("c1", "c2"), threshold=0.6)}
)
NO_C2 = (0.5, 0.5, 0.0)
ONE = (0.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def predictions(make_sites) -> Predictions:
    """A training site; held-out ones whole, without a class, of one class, tiny, unlabelled."""
    return make_sites(
        {"home": 400, "whole": 240, "no_c2": 120, "one": 60, "tiny": 24, "blank": 30},
        priors={"no_c2": NO_C2, "one": ONE},
        unlabelled=("blank",),
        held_out=("whole", "no_c2", "one", "tiny", "blank"),
        per_patient=2,
    )


@pytest.fixture(scope="module")
def table(predictions: Predictions) -> pd.DataFrame:
    return per_site_table(Sites.of(predictions, QUICK))


def at(table: pd.DataFrame, site: str, metric: str, role: str | None = None) -> pd.Series:
    rows = table[(table["site"] == site) & (table["metric"] == metric)]
    if role is not None:
        rows = rows[rows["site_role"] == role]
    assert len(rows) == 1
    return rows.iloc[0]


def test_one_row_for_each_site_role_and_metric(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == SCHEMAS["per_site"].columns
    assert not table.duplicated(["split", "site", "site_role", "metric"]).any()
    sites = {"home", "whole", "no_c2", "one", "tiny", "blank", "_pooled", "_worst", "_gap"}
    assert set(table["site"]) == sites
    assert set(table["split"]) == {"test"}
    plain = table[~table["site"].str.startswith("_")]
    assert plain.groupby("site").size().nunique() == 1
    assert list(dict.fromkeys(table[table["site"] == "_pooled"]["site_role"])) == [
        "training",
        "held_out",
        "all",
    ]


def test_point_estimates_equal_scikit_learn(table: pd.DataFrame, predictions: Predictions) -> None:
    rows = predictions.select((predictions.table["site"] == "whole").to_numpy())
    y, p = rows.labels, rows.probabilities
    ill, score = y > 0, p[:, 1:].sum(axis=1)
    wanted = {
        "auroc": roc_auc_score(y, p, multi_class="ovr"),
        "auroc_ovo": roc_auc_score(y, p, multi_class="ovo"),
        "auroc/c1": roc_auc_score(y == 1, p[:, 1]),
        "auprc": np.mean([average_precision_score(y == c, p[:, c]) for c in range(3)]),
        "accuracy": (p.argmax(axis=1) == y).mean(),
        "quadratic_weighted_kappa": cohen_kappa_score(y, p.argmax(axis=1), weights="quadratic"),
        "sensitivity/c2": (p.argmax(axis=1) == 2)[y == 2].mean(),
        "prevalence/c0": (y == 0).mean(),
        "log_loss": log_loss(y, p),
        "ill/auroc": roc_auc_score(ill, score),
        "ill/auprc": average_precision_score(ill, score),
        "ill/sensitivity": (score >= 0.6)[ill].mean(),
        "ill/specificity": (score < 0.6)[~ill].mean(),
        "ill/ppv": ill[score >= 0.6].mean(),
        "ill/npv": (~ill)[score < 0.6].mean(),
        "ill/brier": ((score - ill) ** 2).mean(),
    }
    for metric, value in wanted.items():
        row = at(table, "whole", metric)
        assert row["value"] == pytest.approx(value, abs=1e-12), metric
        assert row["low"] <= value <= row["high"], metric
        assert row["reason"] == "ok"
    assert at(table, "whole", "ill/sensitivity")["detail"] == "threshold 0.6"
    assert at(table, "whole", "auroc")["n_patients"] == 120


def test_nothing_is_infinite_and_an_undefined_number_is_empty(table: pd.DataFrame) -> None:
    for column in ("value", "low", "high", "effect", "effect_error"):
        assert not np.isinf(table[column]).any()
    undefined = table[table["value"].isna()]
    assert len(undefined) > 50
    assert not undefined["reason"].isin(["ok", "interval_unstable"]).any()
    assert undefined[["low", "high"]].isna().all(axis=None)
    assert set(table["reason"]) <= {reason.value for reason in Reason}
    text = table.to_csv(index=False)
    assert "nan" not in text.lower().split(",")
    assert "inf" not in text.lower().split(",")


def test_a_table_read_back_is_the_same(table: pd.DataFrame) -> None:
    back = pd.read_csv(io.StringIO(table.to_csv(index=False)), keep_default_na=True)
    np.testing.assert_array_equal(back["value"], table["value"])
    assert back["n"].tolist() == table["n"].tolist()


def test_a_site_without_a_class_says_over_how_many(table: pd.DataFrame) -> None:
    absent = at(table, "no_c2", "auroc/c2")
    assert pd.isna(absent["value"])
    assert (absent["reason"], absent["n_positive"]) == ("single_class", 0)
    assert at(table, "no_c2", "sensitivity/c2")["reason"] == "no_samples"
    macro = at(table, "no_c2", "auroc")
    assert (macro["classes_defined"], macro["classes"]) == (2, 3)
    parts = [at(table, "no_c2", f"auroc/{name}")["value"] for name in ("c0", "c1")]
    assert macro["value"] == pytest.approx(np.mean(parts), abs=1e-14)
    assert at(table, "no_c2", "balanced_accuracy")["classes_defined"] == 2


def test_a_site_of_one_class_has_accuracy_but_no_ranking_and_no_kappa(table: pd.DataFrame) -> None:
    assert at(table, "one", "accuracy")["reason"] == "ok"
    for metric in (
        "auroc",
        "auroc/c1",
        "auroc_ovo",
        "auprc",
        "balanced_accuracy",
        "macro_f1",
        "quadratic_weighted_kappa",
        "ill/auroc",
        "ill/auprc_at_reference",
    ):
        row = at(table, "one", metric)
        assert pd.isna(row["value"]), metric
        assert row["reason"] == "single_class", metric
    assert at(table, "one", "ill/specificity")["reason"] == "no_samples"


def test_twelve_patients_give_wide_intervals_not_none(table: pd.DataFrame) -> None:
    for metric in ("ill/auroc", "accuracy", "ill/sensitivity"):
        tiny, whole = at(table, "tiny", metric), at(table, "whole", metric)
        assert tiny["n_patients"] <= 12
        assert tiny["high"] - tiny["low"] > 2 * (whole["high"] - whole["low"]), metric


def test_a_perfect_share_keeps_an_uncertain_bound(table: pd.DataFrame) -> None:
    rows = table[(table["site"] == "tiny") & (table["value"] == 1.0)]
    assert len(rows) > 0
    assert (rows["low"] < 0.9).all()


def test_a_site_without_labels_is_listed_with_its_reason(table: pd.DataFrame) -> None:
    rows = table[table["site"] == "blank"]
    assert set(rows["reason"]) == {"no_labels"}
    assert rows["value"].isna().all()
    assert (rows["n"] == 0).all()


def test_too_few_rows_is_said_so(make_sites) -> None:
    rows = make_sites({"a": 40, "b": 8}, held_out=("a", "b"))
    found = per_site_table(Sites.of(rows, QUICK))
    assert set(found[found["site"] == "b"]["reason"]) == {"too_few"}
    assert (found[found["site"] == "b"]["n"] == 8).all()


def test_the_worst_site_is_named_and_the_gap_is_between_it_and_the_best(
    table: pd.DataFrame,
) -> None:
    plain = table[(table["metric"] == "auroc") & ~table["site"].str.startswith("_")]
    defined = plain.dropna(subset="value").set_index("site")["value"]
    worst, gap = at(table, "_worst", "auroc", "all"), at(table, "_gap", "auroc", "all")
    assert (worst["value"], worst["detail"]) == (defined.min(), defined.idxmin())
    assert gap["value"] == pytest.approx(defined.max() - defined.min())
    assert gap["detail"] == f"{defined.idxmax()} > {defined.idxmin()}"
    assert (worst["sites_defined"], worst["sites"]) == (4, 6)


def test_the_worst_loss_is_the_largest(table: pd.DataFrame) -> None:
    plain = table[(table["metric"] == "brier") & ~table["site"].str.startswith("_")]
    assert at(table, "_worst", "brier", "all")["value"] == plain["value"].max()


def test_one_training_site_has_no_gap_and_a_prevalence_has_no_worst(table: pd.DataFrame) -> None:
    assert at(table, "_gap", "auroc", "training")["reason"] == "too_few"
    assert "prevalence/c0" not in set(table[table["site"] == "_worst"]["metric"])


def test_pooled_rows_are_those_of_the_sites_together(
    table: pd.DataFrame, predictions: Predictions
) -> None:
    test = (predictions.table["split"] == "test").to_numpy() & (predictions.labels >= 0)
    right = (predictions.probabilities.argmax(axis=1) == predictions.labels)[test]
    row = at(table, "_pooled", "accuracy", "all")
    assert row["value"] == pytest.approx(right.mean(), abs=1e-14)
    assert row["n"] == test.sum()


def test_a_site_does_not_change_when_another_leaves(
    table: pd.DataFrame, predictions: Predictions
) -> None:
    fewer = predictions.select((predictions.table["site"] != "no_c2").to_numpy())
    found = per_site_table(Sites.of(fewer, QUICK))
    for site in ("whole", "tiny", "home"):
        mine = found[(found["site"] == site)].reset_index(drop=True)
        whole = table[(table["site"] == site)].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, whole)


def test_order_of_rows_and_names_of_patients_do_not_matter(
    table: pd.DataFrame, predictions: Predictions
) -> None:
    order = np.random.default_rng(0).permutation(len(predictions))
    pd.testing.assert_frame_equal(
        per_site_table(Sites.of(predictions.select(order), QUICK)), table, rtol=1e-9, atol=1e-12
    )


def test_the_seed_decides_and_nothing_else(predictions: Predictions, table: pd.DataFrame) -> None:
    other = per_site_table(Sites.of(predictions, QUICK.model_copy(update={"seed": 1})))
    np.testing.assert_array_equal(other["value"], table["value"])
    assert not np.array_equal(other["low"].to_numpy(), table["low"].to_numpy(), equal_nan=True)


def test_repeating_each_image_of_a_patient_does_not_narrow_an_interval(make_sites) -> None:
    rows = make_sites({"a": 120}, held_out=("a",))
    five = rows.select(np.repeat(np.arange(120), 5))
    one, many = (per_site_table(Sites.of(each, QUICK)) for each in (rows, five))
    for metric in ("ill/auroc", "brier", "quadratic_weighted_kappa"):
        before, after = at(one, "a", metric), at(many, "a", metric)
        assert after["n_patients"] == 120
        assert after["high"] - after["low"] == pytest.approx(
            before["high"] - before["low"], rel=0.02
        )
    images = per_site_table(Sites.of(five, QUICK.model_copy(update={"unit": "image"})))
    ignored = at(images, "a", "brier")
    assert ignored["n_patients"] == at(images, "a", "accuracy")["n_patients"] == 120
    assert at(images, "_pooled", "brier", "all")["n_patients"] == 120
    assert ignored["high"] - ignored["low"] < 0.6 * (
        at(one, "a", "brier")["high"] - at(one, "a", "brier")["low"]
    )


def test_positives_are_the_truly_positive_whatever_the_model_called_them(make_sites) -> None:
    rows = make_sites({"a": 200}, held_out=("a",), priors={"a": (0.8, 0.2)}, classes=2)
    table = per_site_table(Sites.of(rows, EvaluationSettings(resamples=100)))
    ill, called = rows.labels == 1, rows.probabilities[:, 1] >= 0.5
    assert 0 < (ill & called).sum() < ill.sum()
    wanted = {
        "auroc": ill, "c1/prevalence": ill, "sensitivity/c1": ill, "c1/sensitivity": ill,
        "c1/specificity": ill & ~ill, "c1/ppv": ill & called, "c1/npv": ill & ~called,
    }  # fmt: skip
    found = {metric: at(table, "a", metric)["n_positive"] for metric in wanted}
    assert found == {metric: rows.sum() for metric, rows in wanted.items()}
    assert pd.isna(at(table, "a", "accuracy")["n_positive"])


def test_two_classes_need_no_task(make_sites) -> None:
    rows = make_sites({"a": 200}, held_out=("a",), classes=2)
    found = per_site_table(Sites.of(rows, EvaluationSettings(resamples=100)))
    names = set(found["metric"])
    assert {"auroc", "auprc", "c1/sensitivity", "c1/auprc_at_reference"} <= names
    assert not {"auroc_ovo", "c1/auroc", "quadratic_weighted_kappa"} & names
    assert at(found, "a", "auroc")["value"] == pytest.approx(
        roc_auc_score(rows.labels, rows.probabilities[:, 1]), abs=1e-12
    )


def test_a_perfect_auroc_has_a_lower_bound_under_one(make_sites) -> None:
    rows = make_sites({"a": 40}, held_out=("a",), classes=2, noise=0.1)
    row = at(per_site_table(Sites.of(rows, EvaluationSettings(resamples=100))), "a", "auroc")
    assert (row["value"], row["high"]) == (1.0, 1.0)
    assert row["low"] < 0.96


def test_stratified_draws_keep_a_rare_class(make_sites) -> None:
    rows = make_sites({"a": 60}, priors={"a": (0.9, 0.05, 0.05)}, held_out=("a",), seed=3)
    assert 2 <= (rows.labels == 2).sum() <= 4
    values = []
    for stratified in (False, True):
        settings = QUICK.model_copy(update={"stratified": stratified})
        (site,), request = Sites.of(rows, settings).single, request_of(rows, settings)
        measured = measured_site(site, request, settings)
        assert measured is not None
        values.append(measured["macro_f1"].values)
    assert np.isnan(values[0]).any()
    assert np.isfinite(values[1]).all()
    assert values[0][0] == values[1][0]


def test_a_table_without_test_rows_is_empty_with_its_columns(make_sites) -> None:
    rows = make_sites({"a": 40}, splits=(1.0, 0.0, 0.0))
    assert per_site_table(Sites.of(rows, QUICK)).empty
    assert tuple(per_site_table(Sites.of(rows, QUICK)).columns) == SCHEMAS["per_site"].columns
    assert confusion_table(Sites.of(rows)).empty


def test_a_task_that_does_not_fit_is_refused(predictions: Predictions) -> None:
    for members, code in ((("c9",), "unknown_class"), (("c0", "c1", "c2"), "empty_task")):
        settings = EvaluationSettings(tasks={"t": TaskSettings(positive_classes=members)})
        with pytest.raises(InputError) as error:
            per_site_table(Sites.of(predictions, settings))
        assert error.value.code == code
    with pytest.raises(ValidationError, match="task name"):
        EvaluationSettings(tasks={"a/b": TaskSettings(positive_classes=("c0",))})


def test_confusions_add_up(predictions: Predictions) -> None:
    found = confusion_table(Sites.of(predictions))
    whole = found[(found["site"] == "whole")]
    assert whole["count"].sum() == 240
    assert whole.groupby("true_class")["share"].sum().tolist() == pytest.approx([1.0] * 3)
    absent = found[(found["site"] == "no_c2") & (found["true_class"] == "c2")]
    assert absent["share"].isna().all()
    everyone = found[(found["site"] == "_pooled") & (found["site_role"] == "all")]
    plain = found[~found["site"].str.startswith("_")]
    assert everyone["count"].sum() == plain["count"].sum()
