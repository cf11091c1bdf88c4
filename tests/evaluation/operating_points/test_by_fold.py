"""Thresholds of a cross-validation: what ships is chosen on all folds, and measured across them."""

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.operating_points.choosing import choose_threshold
from offsite.evaluation.operating_points.table import operating_point_table
from offsite.evaluation.predictions.example import example_predictions
from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import predictions_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.sites import Sites

FOLDS = 5


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two sites that were cross-validated, and one that was held out; every row is of the test."""
    table = example_predictions().assign(split="test")
    away = table["site"] == "west"
    table["site_role"] = np.where(away, "held_out", "training")
    table["fold"] = np.where(away, 0, pd.factorize(table["patient"])[0] % FOLDS + 1)
    return table


def test_rows_of_folds_are_crossed_and_those_of_held_out_sites_are_not(rows: pd.DataFrame) -> None:
    roles = roles_of(rows)
    assert roles.test.all()
    np.testing.assert_array_equal(roles.crossed, rows["fold"] > 0)
    assert not roles_of(rows.drop(columns="fold")).crossed.any()
    assert not (roles.calibrate | roles.fit).any()


def test_a_fold_is_called_by_what_the_other_folds_chose(rows: pd.DataFrame) -> None:
    sites = Sites.of(predictions_of(rows), EvaluationSettings(resamples=100))
    table = operating_point_table(sites)
    point = table[(table["rule"] == "point") & (table["metric"] == "sensitivity")]
    score = sites.predictions.probabilities[:, 1]
    ill, fold = (rows["label"] == "malignant").to_numpy(), rows["fold"].to_numpy()
    patients, target = pd.factorize(rows["patient"])[0], point["target_sensitivity"].iloc[0]

    def chosen(among: np.ndarray) -> float:
        found = choose_threshold(score[among], ill[among], patients[among], target)
        assert found is not None
        return found

    shipped = chosen(fold > 0)
    np.testing.assert_allclose(point["threshold"], shipped)
    own = np.array([shipped, *(chosen((fold > 0) & (fold != k)) for k in range(1, FOLDS + 1))])
    called = score >= own[fold]
    by_site = point.set_index(["site", "site_role"])["value"]
    for site, role in (("north", "training"), ("south", "training"), ("west", "held_out")):
        at = (rows["site"] == site).to_numpy() & ill
        assert by_site[site, role] == pytest.approx(called[at].mean())
    crossed = called[(fold > 0) & ill].mean()
    assert by_site["_pooled", "training"] == pytest.approx(crossed)
    # On the rows that it was chosen on the threshold keeps its promise by construction.
    assert by_site["_chosen", "training"] >= target > crossed - 0.02
