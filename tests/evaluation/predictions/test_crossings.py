"""What judges a row of a cross-validation was fitted without it, in every part of a report."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offsite.evaluation.calibration.calibrators import fit_calibrator, logits_of
from offsite.evaluation.calibration.table import TOP, calibration_tables
from offsite.evaluation.conformal.sets import ConformalSets
from offsite.evaluation.conformal.table import conformal_table
from offsite.evaluation.ood.fitting import fit_detectors
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.ood.table import ood_table
from offsite.evaluation.operating_points.by_fold import cuts_of
from offsite.evaluation.operating_points.subgroups import subgroup_table
from offsite.evaluation.operating_points.table import operating_point_table
from offsite.evaluation.predictions.roles import crossings, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import (
    ConformalSettings,
    EvaluationSettings,
    SelectiveSettings,
    TaskSettings,
)
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.selective import selective_table

FOLDS = 4
ILL = EvaluationSettings(
    resamples=100, calibration_simulations=50, tasks={"ill": TaskSettings(positive_classes=("c1", "c2"))}
)  # fmt: skip


@pytest.fixture(scope="module")
def joined(make_sites) -> Predictions:
    """Two sites answered by the folds, one by the refit."""
    made = make_sites(
        {"a": 240, "b": 200, "away": 120}, held_out=("away",), per_patient=2, noise=1.6
    )
    fold = pd.factorize(made.table["patient"])[0] % FOLDS + 1
    away = made.table["site"] == "away"
    table = made.table.assign(split="test", fold=np.where(away, 0, fold))
    return replace(made, table=table, embeddings=None)


def folds_of(rows: Predictions) -> np.ndarray:
    return rows.table["fold"].to_numpy()


def test_each_row_is_judged_once_and_by_none_of_its_patients(joined: Predictions) -> None:
    parts = crossings(joined.table, roles_of(joined.table))
    np.testing.assert_array_equal(sum(judged.astype(int) for judged, _ in parts), 1)
    patients = joined.table["patient"].to_numpy()
    for judged, fitted_on in parts:
        assert not set(patients[judged]) & set(patients[fitted_on])
        assert set(joined.table["site"][fitted_on]) == {"a", "b"}
    assert crossings(joined.table.drop(columns="fold"), roles_of(joined.table)) == []


@settings(max_examples=20, deadline=None)
@given(fold=st.integers(1, FOLDS), seed=st.integers(0, 999))
def test_nothing_that_a_fold_says_reaches_its_own_thresholds(
    joined: Predictions, fold: int, seed: int
) -> None:
    """Whatever the answers and labels of a fold are, it is called by the same thresholds."""
    rng, own = np.random.default_rng(seed), folds_of(joined) == fold
    probabilities, labels = joined.probabilities.copy(), joined.labels.copy()
    probabilities[own] = rng.dirichlet((0.3, 0.3, 0.3), own.sum())
    labels[own] = rng.integers(0, 3, own.sum())
    names = np.where(own, np.array(joined.classes)[labels], joined.table["label"])
    other = replace(
        joined, table=joined.table.assign(label=names), probabilities=probabilities, labels=labels
    )
    before, after = (cuts_of(Sites.of(rows, ILL))["ill"] for rows in (joined, other))
    np.testing.assert_array_equal(before[own], after[own])
    assert len(np.unique(before[folds_of(joined) > 0])) <= FOLDS


def test_groups_are_called_by_the_same_thresholds_as_sites(joined: Predictions) -> None:
    rows = replace(joined, table=joined.table.assign(sex="F"))
    groups = subgroup_table(Sites.of(rows, ILL), ["sex"]).set_index(["site", "metric"])
    points = operating_point_table(Sites.of(rows, ILL))
    points = points[points["rule"] == "point"].set_index(["site", "metric"])
    for site in ("a", "b", "away"):
        for metric in ("sensitivity", "specificity"):
            whole = points.loc[(site, metric), "value"]
            assert groups.loc[(site, f"ill/{metric}"), "value"] == whole


def test_where_the_other_folds_cannot_choose_nothing_is_called(joined: Predictions) -> None:
    """All ill patients of one fold: no other fold has any, and what ships was chosen on them."""
    ill = (joined.labels > 0) & (folds_of(joined) > 0)
    fold = np.where(ill, 1, np.where(folds_of(joined) == 1, 2, folds_of(joined)))
    rows = replace(joined, table=joined.table.assign(fold=fold))
    table = operating_point_table(Sites.of(rows, ILL))
    point = table[(table["rule"] == "point") & (table["metric"] == "sensitivity")]
    told = point.set_index("site")
    assert told.loc[["a", "b"], "reason"].tolist() == ["too_few"] * 2
    assert told.loc["_chosen", "reason"] == told.loc["away", "reason"] == "ok"
    assert np.isfinite(cuts_of(Sites.of(rows, ILL))["ill"]).all()


def test_calibrators_of_a_fold_are_fitted_on_the_others(joined: Predictions) -> None:
    table = calibration_tables(Sites.of(joined, ILL))["calibration"]
    logits, scores = logits_of(joined), np.zeros(len(joined))
    sites, fold = joined.table["site"].to_numpy(str), folds_of(joined)
    for number in range(FOLDS + 1):
        among = (fold > 0) & (fold != number)
        found = fit_calibrator("platt", logits[among], joined.labels[among], sites[among])
        at = fold == number
        scores[at] = found.apply(logits[at], sites[at])[:, 1:].sum(axis=1)
    wanted = (scores - (joined.labels > 0)) ** 2
    rows = table[(table["task"] == "ill") & (table["metric"] == "brier")]
    for site in ("a", "b", "away"):
        row = rows[(rows["calibrator"] == "platt") & (rows["site"] == site)].iloc[0]
        assert row["value"] == pytest.approx(wanted[sites == site].mean(), rel=1e-6)
    assert TOP in set(table["task"])


def test_sets_of_a_fold_are_calibrated_on_the_others(joined: Predictions) -> None:
    wanted = ConformalSettings(levels=(0.9,))
    table = conformal_table(Sites.of(joined, ILL), wanted)
    sites, fold = joined.table["site"].to_numpy(str), folds_of(joined)
    covered, rows_of_bin = np.zeros(len(joined), dtype=bool), []
    for number in range(FOLDS + 1):
        among, at = (fold > 0) & (fold != number), fold == number
        sets = ConformalSets.fit(
            joined.probabilities[among], joined.labels[among], sites[among], wanted
        )
        found = sets.predict(joined.probabilities[at], sites[at], 0.9)
        covered[at] = found.members[np.arange(at.sum()), joined.labels[at]]
        if number:
            rows_of_bin.append(len(sets.bin_of("a", 0)[0]))
    whole = table[(table["label"] == "_all") & ~table["weighted"].astype(bool)].set_index("site")
    for site in ("a", "b", "away"):
        assert whole.loc[site, "coverage"] == covered[sites == site].mean()
    of_class = table[(table["site"] == "a") & (table["label"] == "c0")].iloc[0]
    assert of_class["n_calibration"] == min(rows_of_bin)
    assert not table["weighted"].any()  # likeness to a site would compare two models


def test_confident_cases_of_a_fold_are_those_by_the_threshold_of_the_others(
    joined: Predictions,
) -> None:
    table = selective_table(Sites.of(joined, ILL), SelectiveSettings(resamples=100))
    sure, fold = joined.probabilities.max(axis=1), folds_of(joined)
    cut = np.array(
        [
            np.quantile(sure[(fold > 0) & (fold != number)], 0.2, method="lower")
            for number in range(FOLDS + 1)
        ]
    )
    kept = sure >= cut[fold]
    rows = table[table["metric"] == "coverage_at_threshold_80"].set_index("site")
    for site in ("a", "b", "away"):
        at = (joined.table["site"] == site).to_numpy()
        assert rows.loc[site, "value"] == pytest.approx(kept[at].mean())


@pytest.fixture(scope="module")
def models(make_sites) -> dict[int, Predictions]:
    """A model of each fold, each with axes of its own, and the refit (0); 'away' lies far off."""
    made = make_sites(
        {"a": 400, "b": 320, "away": 120}, held_out=("away",), moved={"away": 5.0}, per_patient=2
    )
    fold = pd.factorize(made.table["patient"])[0] % FOLDS + 1
    away = (made.table["site"] == "away").to_numpy()
    rng, found = np.random.default_rng(3), {}
    for number in range(FOLDS + 1):
        turn = np.linalg.qr(rng.normal(size=(8, 8)))[0] * (1 + number)
        val = rng.permutation(np.arange(len(made)) // 2)[np.arange(len(made)) // 2] % 5 == 0
        split = np.where(val, "val", "train") if number else np.full(len(made), "train")
        split = np.where(away | (fold == number), "test", split)
        table = made.table.assign(split=split, fold_of_patient=np.where(away, 0, fold))
        found[number] = replace(made, table=table, embeddings=made.embeddings @ turn + number)
    return found


def test_foreign_images_are_told_by_the_model_that_answered(models: dict[int, Predictions]) -> None:
    refit = models[0]
    fold = refit.table["fold_of_patient"].to_numpy()
    table = refit.table.assign(split="test", fold=fold)
    rows = replace(refit, table=table, embeddings=None)
    asked = OodSettings(detectors=("mahalanobis", "msp"), resamples=100)
    found = ood_table(Sites.of(rows, ILL), asked, models=models)
    flagged = np.zeros(len(rows), dtype=bool)
    for number, model in models.items():
        own = fit_detectors(model, asked)[0].detector
        assert own is not None
        at = fold == number
        flagged[at] = own.flag(own.score(model.embeddings[at], model.logits[at]))
    first = found[found["detector"] == "mahalanobis"]
    rates = first[first["metric"] == "flag_rate"].set_index("site")["value"]
    for site in ("a", "b", "away"):
        at = (table["site"] == site).to_numpy()
        assert rates[site] == pytest.approx(flagged[at].mean())
    areas = first[(first["metric"] == "auroc") & (first["category"] == "covariate_shifted")]
    # Though each model's scale is another, its rows are ranked beside those of the others.
    assert areas.set_index("site").loc["away", "value"] > 0.95
    told = first.groupby(["category", "site"])["threshold_from"].agg(set)
    assert told["in_distribution", "a"] == {"validation"}
    assert told["covariate_shifted", "away"] == {"cross_fitted"}
    assert (first["threshold"] == 0).all()


def test_a_patient_who_is_answered_once_counts_once_in_every_part(joined: Predictions) -> None:
    """Slides of one patient share an answer where pooling is by patient: one row stands for it."""
    place = pd.factorize(joined.table["patient"])[0]
    first = np.unique(place, return_index=True)[1]
    labels, probabilities = joined.labels[first][place], joined.probabilities[first][place]
    names = np.array(joined.classes)[labels]
    table = joined.table.assign(label=names, slide_label=joined.table["label"])
    slides = replace(joined, table=table, labels=labels, probabilities=probabilities, logits=None)
    patients = slides.select(first)
    assert len(slides) == 2 * len(patients)
    every, once = (Sites.of(rows, ILL) for rows in (slides, patients))
    settings_ = ConformalSettings(levels=(0.9,))
    for made in (
        operating_point_table,
        lambda sites: calibration_tables(sites)["calibration"],
        lambda sites: conformal_table(sites, settings_),
        lambda sites: selective_table(sites, SelectiveSettings(resamples=100)),
    ):
        found, wanted = made(every), made(once)
        pd.testing.assert_frame_equal(found, wanted)
        assert found["n"].max() <= len(patients)
