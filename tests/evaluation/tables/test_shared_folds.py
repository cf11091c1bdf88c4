"""Models of a cross-validation share training patients: what compares them is widened for it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from offsite.evaluation.predictions.roles import FOLD
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.tables.comparison import compare_methods, paired_differences
from offsite.evaluation.tables.shared_folds import corrected_variance, shared_by_folds

SETTINGS = EvaluationSettings(resamples=200, tasks={"ill": TaskSettings(positive_classes=("c1",))})
PLACE = ["site", "site_role", "metric"]


def noisy(rows: Predictions, noise: float) -> Predictions:
    logits = rows.logits + noise * np.random.default_rng(4).normal(size=rows.logits.shape)
    return replace(rows, logits=logits, probabilities=softmax(logits, axis=1))


def in_folds(rows: Predictions, folds: int) -> Predictions:
    """The same answers, those of test rows at training sites said to be of folds."""
    own = (rows.table["split"] == "test") & (rows.table["site_role"] == "training")
    number = np.where(own, np.arange(len(rows.table)) % folds + 1, 0)
    return replace(rows, table=rows.table.assign(**{FOLD: number}))


@pytest.fixture(scope="module")
def pair(make_sites) -> tuple[Predictions, Predictions]:
    rows = make_sites({"home": 300, "away": 120}, held_out=("away",))
    return rows, noisy(rows, 1.5)


@pytest.mark.parametrize("folded", ["both", "candidate"])
def test_differences_at_training_sites_are_widened_and_not_where_one_model_answers(
    pair, folded: str
) -> None:
    one, other = pair
    plain = paired_differences(one, other, SETTINGS).set_index(PLACE)
    first = in_folds(one, 5) if folded == "both" else one
    wide = paired_differences(first, in_folds(other, 5), SETTINGS).set_index(PLACE)
    assert plain.index.equals(wide.index)
    np.testing.assert_array_equal(plain["difference"], wide["difference"])
    away = plain.index.get_level_values("site_role") == "held_out"
    assert away.any()
    pd.testing.assert_frame_equal(plain[away], wide[away])
    # Where no draw tells the models apart the bound is that of 0 of so many patients: the next test.
    agreed = (plain["low"] == -plain["high"]) & (plain["difference"] == 0)
    stretched = plain[~away & ~agreed].dropna(subset=["low"])
    assert len(stretched) > 10
    found = wide.loc[stretched.index]
    for bound in ("low", "high"):
        np.testing.assert_allclose(
            found[bound] - found["difference"],
            1.5 * (stretched[bound] - stretched["difference"]),
            atol=1e-9,
        )
    assert (found["p_value"] >= stretched["p_value"]).all()
    area = ("home", "training", "ill/auroc")
    assert found.loc[area, "p_value"] > stretched.loc[area, "p_value"]


def test_answers_that_agree_everywhere_leave_as_much_open_as_fewer_patients(make_sites) -> None:
    rows = make_sites({"home": 120}, noise=0.01)
    other = replace(rows, probabilities=0.9 * rows.probabilities + 0.1 / 3)
    bounds = {}
    for folds in (0, 2, 5):
        models = [in_folds(model, folds) if folds else model for model in (rows, other)]
        table = paired_differences(*models, SETTINGS).set_index(PLACE)
        row = table.loc[("home", "training", "accuracy")]
        assert row["low"] == -row["high"]
        bounds[folds] = row["high"]
    assert bounds[0] < bounds[5] < bounds[2]


def test_the_fewest_folds_of_two_models_say_how_much(pair) -> None:
    one, other = pair
    assert shared_by_folds(pair) == 1
    assert shared_by_folds([in_folds(one, 5), other]) == corrected_variance(5, 1)
    assert shared_by_folds([in_folds(one, 5), in_folds(other, 2)]) == corrected_variance(2, 1)


def test_methods_are_widened_alike_whoever_asks(pair) -> None:
    groups = {"one": [in_folds(pair[0], 4)], "two": [in_folds(pair[1], 4)]}
    said = compare_methods(groups, "one", SETTINGS)
    asked = compare_methods(groups, "one", SETTINGS, corrected_variance(4, 1))
    pd.testing.assert_frame_equal(said, asked)
    plain = compare_methods(groups, "one", SETTINGS, 1.0).set_index(["method", *PLACE])
    wide = said.set_index(["method", *PLACE])
    width = {name: t["difference_high"] - t["difference_low"] for name, t in
             (("plain", plain), ("wide", wide))}  # fmt: skip
    at = ("two", "home", "training", "ill/auroc")
    assert width["wide"][at] == pytest.approx(np.sqrt(1 + 4 / 3) * width["plain"][at])
    away = ("two", "away", "held_out", "ill/auroc")
    assert width["wide"][away] == width["plain"][away]
