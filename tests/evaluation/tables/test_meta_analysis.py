"""Random effects against statsmodels, and the tables of the next hospital and of shrunken sites."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from statsmodels.stats.meta_analysis import combine_effects

from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.random_effects import paule_mandel, random_effects
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.meta_analysis import meta_table, shrunken_table
from offsite.evaluation.tables.per_site import per_site_table

QUICK = EvaluationSettings(
    resamples=100, tasks={"ill": TaskSettings(positive_classes=("c1", "c2"))}
)


def sites(seed: int, k: int = 9, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.05, 0.3, k)
    return rng.normal(1.0, np.sqrt(spread**2 + variances)), np.sqrt(variances)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_statsmodels(seed: int) -> None:
    effects, errors = sites(seed)
    found = random_effects(effects, errors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A finer atol would take a last step below zero by rounding for "no variance".
        oracle = combine_effects(effects, errors**2, method_re="iterated", use_t=True, atol=1e-7)
    assert found.tau2 == pytest.approx(oracle.tau2, rel=1e-5)
    assert found.mean == pytest.approx(oracle.mean_effect_re, rel=1e-6)
    assert found.error == pytest.approx(oracle.sd_eff_w_re_hksj, rel=1e-5)
    assert (found.q, found.i2) == pytest.approx((oracle.q, oracle.i2), rel=1e-12)


def test_paule_mandel_solves_its_equation() -> None:
    effects, errors = sites(5)
    tau2 = paule_mandel(effects, errors**2)
    weights = 1 / (errors**2 + tau2)
    mean = weights @ effects / weights.sum()
    assert weights @ (effects - mean) ** 2 == pytest.approx(8, abs=1e-8)


def test_equal_hospitals_have_no_spread_and_the_classical_error() -> None:
    found = random_effects(np.array([1.0, 1.01, 0.99, 1.0]), np.full(4, 0.2))
    assert (found.tau2, found.i2) == (0.0, 0.0)
    assert found.error == pytest.approx(0.1)


def test_prediction_interval_with_many_sites_is_that_of_the_known_law() -> None:
    rng = np.random.default_rng(0)
    found = random_effects(2 + 0.5 * rng.normal(size=4000), np.full(4000, 0.01))
    assert found.prediction_interval() == pytest.approx((2 - 0.98, 2 + 0.98), abs=0.05)


def test_prediction_interval_is_wider_than_the_customary_one_which_takes_tau_for_known() -> None:
    found = random_effects(*sites(1, k=8, spread=0.2))
    low, high = found.prediction_interval()
    width = t.ppf(0.975, 6) * np.sqrt(found.tau2 + found.error**2)
    assert width < (high - low) / 2 < 2 * width
    assert low < found.mean_interval()[0] < found.mean_interval()[1] < high
    assert found.prediction_interval() == (low, high)


def test_two_sites_cannot_foretell_a_third() -> None:
    assert random_effects(np.array([0.0, 1.0]), np.ones(2)).prediction_interval() is None


def test_shifting_and_scaling_effects_shifts_and_scales_the_result() -> None:
    effects, errors = sites(2)
    plain, moved = random_effects(effects, errors), random_effects(3 * effects + 5, 3 * errors)
    assert moved.mean == pytest.approx(3 * plain.mean + 5)
    assert moved.tau2 == pytest.approx(9 * plain.tau2, rel=1e-6)


@pytest.mark.parametrize(("effects", "errors"), [([1.0], [1.0]), ([1.0, 2.0], [1.0, 0.0])])
def test_what_cannot_be_combined_is_refused(effects: list[float], errors: list[float]) -> None:
    with pytest.raises(ValueError, match="two effects"):
        random_effects(np.array(effects), np.array(errors))


@pytest.fixture(scope="module")
def per_site(make_sites) -> pd.DataFrame:
    sizes = {"home": 400, "a": 200, "b": 200, "c": 100, "d": 60, "blank": 20}
    rows = make_sites(
        sizes,
        held_out=("a", "b", "c", "d", "blank"),
        unlabelled=("blank",),
        priors={"d": (0.2, 0.4, 0.4)},
    )
    return per_site_table(Sites.of(rows, QUICK))


def one(table: pd.DataFrame, **wanted: str) -> pd.Series:
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_next_hospital(per_site: pd.DataFrame) -> None:
    row = one(meta_table(per_site, QUICK), metric="auroc", site_role="held_out")
    assert (row["scale"], row["sites"], row["sites_left_out"]) == ("logit", 4, 1)
    bounds = row[["prediction_low", "low", "mean", "high", "prediction_high"]].to_list()
    assert bounds == sorted(bounds)
    assert 0 < bounds[0] < bounds[-1] < 1
    values = per_site[per_site["metric"].eq("auroc") & per_site["site_role"].eq("held_out")]
    plain = values[~values["site"].str.startswith("_")]["value"]
    assert plain.min() < row["mean"] < plain.max()


def test_scales_keep_their_bounds(per_site: pd.DataFrame) -> None:
    table = meta_table(per_site, QUICK)
    assert one(table, metric="quadratic_weighted_kappa", site_role="all")["scale"] == "fisher"
    assert one(table, metric="log_loss", site_role="all")["scale"] == "log"
    shares = table[table["scale"] == "logit"].dropna(subset="prediction_low")
    assert ((shares["prediction_low"] > 0) & (shares["prediction_high"] < 1)).all()


def test_one_training_site_is_too_few(per_site: pd.DataFrame) -> None:
    row = one(meta_table(per_site, QUICK), metric="auroc", site_role="training")
    assert row["reason"] == "too_few"
    assert pd.isna(row["mean"])


def test_tables_read_back_from_csv_give_the_same(per_site: pd.DataFrame) -> None:
    back = pd.read_csv(io.StringIO(per_site.to_csv(index=False)))
    for function in (meta_table, shrunken_table):
        pd.testing.assert_frame_equal(function(back, QUICK), function(per_site, QUICK), rtol=1e-9)


def test_noisy_sites_are_pulled_further_and_the_gap_shrinks(per_site: pd.DataFrame) -> None:
    table = shrunken_table(per_site, QUICK)
    own = table[table["metric"].eq("ill/prevalence") & table["site_role"].eq("held_out")]
    plain = own[~own["site"].str.startswith("_")].dropna(subset="shrunken").set_index("site")
    assert (plain["weight"].between(0, 1)).all()
    assert plain.loc["a", "weight"] > plain.loc["d", "weight"]
    gap = one(own, site="_gap")
    assert gap["shrunken"] < gap["value"]
    assert one(own, site="_worst")["shrunken"] == pytest.approx(plain["shrunken"].min())
    blank = one(own, site="blank")
    assert (blank["reason"], pd.isna(blank["shrunken"])) == ("no_labels", True)


def test_perfect_sites_can_be_combined(make_sites) -> None:
    sizes = dict.fromkeys("abcde", 40)
    rows = make_sites(sizes, held_out=tuple(sizes), noise=0.1)
    table = meta_table(per_site_table(Sites.of(rows, QUICK)), QUICK)
    for metric in ("ill/auroc", "accuracy", "ill/sensitivity"):
        row = one(table, metric=metric, site_role="held_out")
        assert row["sites"] == 5, metric
        assert 0.7 < row["prediction_low"] < row["mean"] < 1, metric


def test_the_interval_under_a_prior_is_that_of_drawing_from_it() -> None:
    effects, errors, spread = np.array([1.1, 1.9, 1.4]), np.array([0.3, 0.25, 0.4]), 0.5
    low, high = random_effects(effects, errors).prior_interval(spread)
    # Draws of tau and mean from their priors, weighted by the likelihood of what was seen.
    rng = np.random.default_rng(0)
    tau = np.abs(rng.normal(0, spread, 400_000))
    mean = rng.uniform(-3, 6, len(tau))
    variances = errors**2 + tau[:, None] ** 2
    log = -0.5 * (np.log(variances) + (effects - mean[:, None]) ** 2 / variances).sum(axis=1)
    new = mean + tau * rng.normal(size=len(tau))
    order = np.argsort(new)
    weight = np.exp(log - log.max())[order].cumsum()
    ends = new[order][np.searchsorted(weight / weight[-1], [0.025, 0.975])]
    assert (low, high) == pytest.approx(ends, abs=0.06)


def test_with_few_sites_the_prior_narrows_and_no_more_than_it_says() -> None:
    found = random_effects(np.array([1.2, 1.8, 1.5]), np.full(3, 0.2))
    wide, tight = found.prediction_interval(), found.prior_interval(0.5)
    assert wide is not None
    assert tight[1] - tight[0] < 0.7 * (wide[1] - wide[0])
    assert wide[0] < tight[0] < found.mean < tight[1] < wide[1]
    narrow = found.prior_interval(0.05)
    assert narrow[1] - narrow[0] < tight[1] - tight[0]
    usual = found.prediction_interval(0.8)
    assert usual is not None
    assert wide[0] < usual[0] < usual[1] < wide[1]
