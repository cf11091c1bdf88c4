"""Two models, and methods of several seeds, on the same patients."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from offsite.errors import InputError
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.delong import paired_test, placements
from offsite.evaluation.statistics.resampling import swap_counts
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.comparison import compare_methods, paired_differences
from offsite.evaluation.tables.per_site import per_site_table

QUICK = EvaluationSettings(
    resamples=200, tasks={"ill": TaskSettings(positive_classes=("c1", "c2"))}
)


def blurred(rows: Predictions, noise: float, seed: int) -> Predictions:
    """The model with noise on its logits."""
    rng = np.random.default_rng(seed)
    logits = rows.logits + noise * rng.normal(size=rows.logits.shape)
    return replace(rows, logits=logits, probabilities=softmax(logits, axis=1))


@pytest.fixture(scope="module")
def rows(make_sites) -> Predictions:
    return make_sites(
        {"home": 300, "a": 160, "b": 120, "one": 30, "blank": 20},
        held_out=("a", "b", "one", "blank"),
        unlabelled=("blank",),
        priors={"one": (1.0, 0.0, 0.0)},
        per_patient=2,
    )


@pytest.fixture(scope="module")
def worse(rows: Predictions) -> Predictions:
    return blurred(rows, 3.0, 1)


@pytest.fixture(scope="module")
def table(rows: Predictions, worse: Predictions) -> pd.DataFrame:
    return paired_differences(rows, worse, QUICK)


def at(table: pd.DataFrame, site: str, metric: str, role: str | None = None, **more: str):
    found = table[table["site"].eq(site) & table["metric"].eq(metric)]
    for column, value in ({"site_role": role} if role else {}).items() | more.items():
        found = found[found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


def test_values_are_those_of_the_per_site_tables(
    table: pd.DataFrame, rows: Predictions, worse: Predictions
) -> None:
    for column, model in (("first", rows), ("second", worse)):
        own = per_site_table(Sites.of(model, QUICK)).set_index(["site", "site_role", "metric"])[
            "value"
        ]
        mine = table[table["site"] != "_worst"].set_index(["site", "site_role", "metric"])[column]
        np.testing.assert_allclose(mine, own.loc[mine.index], atol=1e-12, equal_nan=True)
        worst = table[table["site"] == "_worst"].set_index(["site", "site_role", "metric"])[column]
        np.testing.assert_allclose(worst, own.loc[worst.index], atol=1e-12)


def test_a_worse_model_is_found_worse(table: pd.DataFrame) -> None:
    row = at(table, "_pooled", "accuracy", "held_out")
    assert row["high"] < 0
    assert row["p_value"] == pytest.approx(1 / 201)
    assert at(table, "a", "log_loss")["low"] > 0


def test_areas_are_compared_by_delong(table: pd.DataFrame, rows, worse) -> None:
    own = (rows.table["site"] == "a").to_numpy()
    units = np.unique(rows.table["patient"][own], return_inverse=True)[1]
    y = rows.labels[own] > 0
    one, other = (
        placements(model.probabilities[own, 1:].sum(axis=1), y, units) for model in (rows, worse)
    )
    row = at(table, "a", "ill/auroc")
    assert row[["low", "high", "p_value"]].to_list() == pytest.approx(paired_test(one, other))
    assert row["second"] == pytest.approx(
        roc_auc_score(y, worse.probabilities[own, 1:].sum(axis=1)), abs=1e-12
    )


def test_equal_models_do_not_differ(rows: Predictions) -> None:
    found = paired_differences(rows, rows, QUICK)
    defined = found.dropna(subset="difference")
    assert (defined["difference"] == 0).all()
    assert defined["low"].abs().max() < 1e-12
    assert defined["p_value"].eq(1).all()


def test_few_patients_who_agree_do_not_prove_two_models_equal(make_sites) -> None:
    perfect = make_sites({"a": 24}, held_out=("a",), classes=2, noise=0.2, per_patient=2)
    other = blurred(perfect, 1.0, 3)
    found = paired_differences(perfect, other, EvaluationSettings(resamples=100))
    patients = at(found, "a", "accuracy")["n_patients"]
    for metric in ("accuracy", "auroc"):
        row = at(found, "a", metric)
        assert (row["first"], row["second"]) == (1.0, 1.0)
        assert row["high"] == -row["low"]
        assert row["high"] >= 1 - 0.025 ** (1 / patients) - 1e-12
        assert row["p_value"] == 1.0
    assert pd.isna(at(found, "a", "macro_f1")["low"])


def test_swapping_the_models_turns_the_signs_round(table, rows, worse) -> None:
    turned = paired_differences(worse, rows, QUICK)
    np.testing.assert_allclose(turned["difference"], -table["difference"], atol=1e-12)
    np.testing.assert_allclose(turned["low"], -table["high"], atol=1e-12)
    np.testing.assert_allclose(turned["p_value"], table["p_value"], atol=1e-12)


def test_order_of_the_second_table_does_not_matter(table, rows, worse) -> None:
    shuffled = worse.select(np.random.default_rng(0).permutation(len(worse)))
    pd.testing.assert_frame_equal(paired_differences(rows, shuffled, QUICK), table)


def test_training_rows_of_the_second_model_may_be_absent(table, rows, worse) -> None:
    only = worse.select((worse.table["split"] == "test").to_numpy())
    pd.testing.assert_frame_equal(paired_differences(rows, only, QUICK), table)


def test_a_pair_is_sharper_than_two_models_apart(rows: Predictions) -> None:
    found = paired_differences(rows, blurred(rows, 0.3, 2), QUICK)
    row, own = at(found, "a", "brier"), at(per_site_table(Sites.of(rows, QUICK)), "a", "brier")
    assert row["high"] - row["low"] < 0.5 * (own["high"] - own["low"])


def test_undefined_sites_keep_their_reason(table: pd.DataFrame) -> None:
    assert at(table, "one", "ill/auroc")["reason"] == "single_class"
    assert set(table[table["site"] == "blank"]["reason"]) == {"no_labels"}
    assert pd.isna(at(table, "blank", "accuracy")["difference"])


def test_exchanging_takes_each_patient_from_one_model() -> None:
    counts = swap_counts(30, 50, np.random.default_rng(0))
    assert (counts[:, :30] + counts[:, 30:] == 1).all()
    assert counts[0].tolist() == [1] * 30 + [0] * 30
    assert 0.4 < counts[1:, :30].mean() < 0.6


@pytest.mark.parametrize("change", ["classes", "label", "patient", "fewer", "twice"])
def test_models_of_different_images_are_refused(change: str, rows: Predictions) -> None:
    other = rows
    if change == "classes":
        other = replace(rows, classes=("x", "y", "z"))
    elif change == "fewer":
        other = rows.select(np.arange(len(rows) - 1))
    elif change == "twice":
        other = rows.select(np.r_[np.arange(len(rows)), len(rows) - 1])
    else:
        other = replace(rows, table=rows.table.assign(**{change: "c0"}))
    with pytest.raises(InputError) as error:
        paired_differences(rows, other, QUICK)
    assert error.value.code in ("not_comparable", "duplicate_image")


def test_methods_over_seeds(rows: Predictions) -> None:
    groups = {
        "better": [blurred(rows, 0.5, seed) for seed in (1, 2, 3)],
        "plain": [blurred(rows, 3.0, seed) for seed in (4, 5, 6)],
    }
    found = compare_methods(groups, "plain", QUICK)
    better = at(found, "_pooled", "log_loss", "held_out", method="better")
    plain = at(found, "_pooled", "log_loss", "held_out", method="plain")
    assert better["seeds"] == 3
    assert better["difference"] == pytest.approx(better["value"] - plain["value"], abs=1e-12)
    assert better["difference_high"] < 0
    assert pd.isna(plain["difference"])
    singles = [
        at(per_site_table(Sites.of(model, QUICK)), "_pooled", "log_loss", "held_out")["value"]
        for model in groups["plain"]
    ]
    assert plain["value"] == pytest.approx(np.mean(singles), abs=1e-12)
    assert plain["seed_sd"] == pytest.approx(np.std(singles, ddof=1), abs=1e-12)


def test_seeds_that_differ_widen_the_interval_and_one_seed_has_no_spread(rows) -> None:
    same = [blurred(rows, 2.0, 7)] * 3
    mixed = [blurred(rows, noise, 7) for noise in (0.5, 2.0, 5.0)]
    found = compare_methods({"base": same, "mixed": mixed, "one": same[:1]}, "base", QUICK)
    rows_of = {
        method: at(found, "_pooled", "accuracy", "all", method=method)
        for method in ("base", "mixed", "one")
    }
    width = {name: row["high"] - row["low"] for name, row in rows_of.items()}
    assert width["mixed"] > 1.5 * width["base"]
    assert width["one"] == pytest.approx(width["base"], abs=1e-12)
    assert pd.isna(rows_of["one"]["seed_sd"])
    assert rows_of["one"]["difference"] == pytest.approx(0, abs=1e-12)
    assert pd.isna(rows_of["one"]["difference_low"])


def test_no_interval_of_a_method_leaves_the_range_of_its_metric(rows) -> None:
    seeds = [blurred(rows, noise, 7) for noise in (0.01, 4.0)]
    found = compare_methods({"base": seeds, "other": seeds[::-1]}, "base", QUICK)
    shares = found[~found["metric"].str.contains("kappa|brier|log_loss")]
    assert (shares["high"].dropna() <= 1).all()
    assert (shares["low"].dropna() >= 0).all()
    kappas = found[found["metric"].str.endswith("kappa")]
    assert (kappas["high"].dropna() <= 1).all()
    assert (found.loc[found["metric"] == "log_loss", "high"] > 0.5).any()


def test_a_method_without_runs_is_refused(rows: Predictions) -> None:
    for groups, baseline in (({"a": [rows]}, "b"), ({"a": [rows], "b": []}, "a")):
        with pytest.raises(InputError, match="no predictions"):
            compare_methods(groups, baseline, QUICK)
