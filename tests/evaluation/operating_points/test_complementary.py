"""What a second model would catch of what the first misses, against a plain count."""

from dataclasses import replace

import numpy as np
import pytest

from offsite.errors import InputError
from offsite.evaluation.operating_points.choosing import choose_thresholds
from offsite.evaluation.operating_points.complementary import complementary_table
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.evaluation.statistics.estimates import FEWEST_PATIENTS
from offsite.evaluation.statistics.sites import Sites

SETTINGS = EvaluationSettings(
    resamples=100, tasks={"ill": TaskSettings(positive_classes=("c1", "c2"), threshold=0.6)}
)


@pytest.fixture(scope="module")
def models(make_sites) -> tuple[Predictions, Predictions]:
    """Two models of the same images, each with errors of its own; the second in another order."""
    first = make_sites(
        {"a": 240, "b": 160, "away": 90}, held_out=("away",), per_patient=2, noise=1.6
    )
    rng = np.random.default_rng(1)
    shaken = np.log(first.probabilities) + rng.normal(0, 1.5, first.probabilities.shape)
    odds = np.exp(shaken)
    second = replace(first, probabilities=odds / odds.sum(axis=1, keepdims=True))
    return first, second.select(rng.permutation(len(first)))


def cut_of(model: Predictions) -> float:
    return next(
        cut.value for cut in choose_thresholds(Sites.of(model, SETTINGS)) if cut.rule == "point"
    )


def test_every_share_equals_a_plain_count(models) -> None:
    first, second = models
    table = complementary_table(first, second, SETTINGS)
    rows = table.set_index(["task", "metric", "site"])
    place = {image: row for row, image in enumerate(second.table["image"])}
    two = second.select(np.array([place[image] for image in first.table["image"]]))
    ill = first.labels > 0
    calls = [model.probabilities[:, 1:].sum(axis=1) >= cut_of(model) for model in (first, two)]
    right = [model.probabilities.argmax(axis=1) == first.labels for model in (first, two)]
    test = (first.table["split"] == "test").to_numpy()
    patients = first.table["patient"].to_numpy(str)
    for site in ("a", "b", "away"):
        here = test & (first.table["site"] == site).to_numpy()
        wanted = {
            ("ill", "caught_by_second"): (calls[1], here & ill & ~calls[0]),
            ("ill", "caught_by_first"): (calls[0], here & ill & ~calls[1]),
            ("ill", "sensitivity_either"): (calls[0] | calls[1], here & ill),
            ("ill", "specificity_either"): (~calls[0] & ~calls[1], here & ~ill),
            ("_top", "caught_by_second"): (right[1], here & ~right[0]),
            ("_top", "caught_by_first"): (right[0], here & ~right[1]),
        }
        for (task, metric), (hits, among) in wanted.items():
            row = rows.loc[(task, metric, site)]
            assert (row["n"], row["n_positive"]) == (among.sum(), (hits & among).sum())
            assert row["n_patients"] == len(set(patients[among]))
            assert row["value"] == pytest.approx(hits[among].mean())
            if row["n_patients"] < FEWEST_PATIENTS:
                assert (np.isnan(row["low"]), row["reason"]) == (True, "too_few")
            else:
                bounds = clustered_interval(hits[among], patients[among])
                assert (row["low"], row["high"]) == pytest.approx(bounds)
            if task == "ill":
                assert (row["first"], row["second"]) == pytest.approx((cut_of(first), cut_of(two)))


def test_pooled_rows_are_the_sum_of_their_sites(models) -> None:
    table = complementary_table(*models, SETTINGS)
    for (_, _), rows in table.groupby(["task", "metric"]):
        single = rows[~rows["site"].str.startswith("_")]
        pooled = rows.query("site == '_pooled' and site_role == 'all'").iloc[0]
        for column in ("n", "n_positive", "n_patients"):
            assert pooled[column] == single[column].sum()


def test_a_model_catches_nothing_of_its_own_misses(models) -> None:
    first, _ = models
    table = complementary_table(first, first, SETTINGS)
    caught = table[table["metric"].str.startswith("caught") & table["value"].notna()]
    assert (caught["value"] == 0).all()
    assert len(caught) > 5


def test_where_nothing_is_missed_there_is_no_share(models) -> None:
    first, _ = models
    truth = np.where(np.eye(3)[first.labels] > 0, 0.98, 0.01)
    perfect = replace(first, probabilities=truth)
    table = complementary_table(perfect, first, SETTINGS)
    nothing = table[(table["metric"] == "caught_by_second")]
    assert set(nothing["reason"]) == {"no_samples"}
    assert nothing["value"].isna().all()
    either = table[(table["metric"] == "sensitivity_either")]
    assert (either["value"] == 1).all()


def test_without_validation_rows_the_stated_threshold_stands(models) -> None:
    tested = [model.select((model.table["split"] == "test").to_numpy()) for model in models]
    table = complementary_table(*tested, SETTINGS)
    assert set(table.loc[table["task"] == "ill", "first"]) == {0.6}


def test_models_of_other_images_are_refused(models) -> None:
    first, second = models
    fewer = second.select(np.arange(len(second)) > 40)
    with pytest.raises(InputError, match="in both tables"):
        complementary_table(first, fewer, SETTINGS)
