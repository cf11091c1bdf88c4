"""Groups of patients: the same numbers as of their rows alone, and Holm over all of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offsite.errors import InputError
from offsite.evaluation.evaluating import evaluate
from offsite.evaluation.operating_points.choosing import shipped_thresholds
from offsite.evaluation.operating_points.subgroups import subgroup_table
from offsite.evaluation.operating_points.table import operating_point_table
from offsite.evaluation.predictions.checks import BLANK
from offsite.evaluation.predictions.frames import read_predictions
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.per_site import per_site_table

TASKS = {"ill": TaskSettings(positive_classes=("c1",))}
SETTINGS = EvaluationSettings(resamples=100, tasks=TASKS)


@pytest.fixture(scope="module")
def predictions(make_sites) -> Predictions:
    """Two sites; at one the model knows nothing of women, and 12 patients have no sex recorded."""
    made = make_sites({"a": 900, "b": 600}, classes=2, per_patient=2, noise=1.4)
    rng = np.random.default_rng(0)
    patients = made.table["patient"].to_numpy(str)
    sex = np.where(rng.random(len(np.unique(patients))) < 0.5, "F", "M")
    sex = sex[np.unique(patients, return_inverse=True)[1]]
    named = np.isin(patients, np.unique(patients[made.table["split"] == "test"])[:12])
    lost = (made.table["site"] == "b").to_numpy() & (sex == "F")
    probabilities = made.probabilities.copy()
    probabilities[lost] = rng.dirichlet((1, 1), int(lost.sum()))
    return replace(
        made,
        table=made.table.assign(sex=np.where(named, "", sex)),
        probabilities=probabilities,
    )


def test_a_groups_numbers_are_those_of_its_rows_alone(predictions: Predictions) -> None:
    table = subgroup_table(Sites.of(predictions, SETTINGS), ["sex"])
    cut = shipped_thresholds(Sites.of(predictions, SETTINGS))["ill"]
    mask = (predictions.table["sex"] == "F").to_numpy() | (predictions.table["split"] != "test")
    alone = Sites.of(predictions.select(mask.to_numpy()), SETTINGS)
    plain = per_site_table(alone).query("metric == 'auroc'").set_index("site")
    carried = operating_point_table(alone).query("rule == 'point'")
    for site in ("a", "b"):
        rows = table.query("group == 'F' and site == @site").set_index("metric")
        for column in ("value", "low", "high", "n", "n_patients"):
            assert rows.loc["auroc", column] == pytest.approx(plain.loc[site, column]), column
        for metric in ("sensitivity", "specificity"):
            known = carried.query("metric == @metric and site == @site").iloc[0]
            assert known["threshold"] == cut
            for column in ("value", "low", "high", "n"):
                assert rows.loc[f"ill/{metric}", column] == pytest.approx(known[column])


def test_the_group_that_is_worse_is_the_one_that_is_marked(predictions: Predictions) -> None:
    table = subgroup_table(Sites.of(predictions, SETTINGS), ["sex"])
    raised = table[table["raised"].fillna(False).astype(bool)]
    assert ("F", "b", "auroc") in set(
        zip(raised["group"], raised["site"], raised["metric"], strict=True)
    )
    assert set(raised["group"]) == {"F"}
    assert set(raised["site"]) <= {"b", "_pooled"}
    tested = table[table["p_value"].notna()]
    assert (tested["adjusted"] >= tested["p_value"]).all()
    smallest = tested.sort_values("p_value").iloc[0]
    assert smallest["adjusted"] == pytest.approx(min(1, smallest["p_value"] * len(tested)))


def test_groups_of_a_random_coin_are_seldom_accused(predictions: Predictions) -> None:
    accused = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        names, codes = np.unique(predictions.table["patient"].to_numpy(str), return_inverse=True)
        coin = rng.integers(0, 2, len(names)).astype(str)[codes]
        tossed = replace(predictions, table=predictions.table.assign(coin=coin))
        rows = subgroup_table(Sites.of(tossed, SETTINGS), ["coin"])
        accused += rows["raised"].fillna(False).astype(bool).any()
    assert accused <= 6  # of 40, two would be expected


def test_small_groups_and_empty_cells_are_counted_alone(predictions: Predictions) -> None:
    table = subgroup_table(Sites.of(predictions, SETTINGS), ["sex"])
    blank = table[table["group"] == BLANK]
    assert len(blank) > 0
    assert blank["value"].isna().all()
    assert set(blank["reason"]) == {"too_few"}
    assert (blank["n_patients"] < 30).all()
    assert (blank["n"] > 0).all()


def test_columns_that_are_no_groups_are_refused(predictions: Predictions) -> None:
    sites = Sites.of(predictions, SETTINGS)
    with pytest.raises(InputError, match="Did you mean sex"):
        subgroup_table(sites, ["sexx"])
    with pytest.raises(InputError, match="too many to be groups"):
        subgroup_table(sites, ["patient"])


def test_the_page_shows_them_and_other_groups_make_it_anew(
    predictions: Predictions, tmp_path: Path
) -> None:
    settings = ReportSettings(parts=(), by=("sex",), metrics=SETTINGS)
    page = evaluate(predictions, tmp_path / "e", settings).report.read_text(encoding="utf-8")
    assert "Groups of patients" in page
    assert "is worse than in the rest of the site for sex F at b" in page
    first = evaluate(predictions, tmp_path / "e", settings).key
    table = predictions.table.assign(sex=predictions.table["sex"].replace({"F": "M", "M": "F"}))
    other = evaluate(replace(predictions, table=table), tmp_path / "e", settings)
    assert other.key != first
    rows = predictions.table.assign(
        prob_c0=predictions.probabilities[:, 0], prob_c1=predictions.probabilities[:, 1]
    )
    rows.to_csv(tmp_path / "t.csv", index=False)
    read, _ = read_predictions(tmp_path / "t.csv", kept=("sex",))
    assert read.table["sex"].tolist() == predictions.table["sex"].tolist()
