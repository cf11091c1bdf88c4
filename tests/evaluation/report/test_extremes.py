"""The worst and the best site, as measured and drawn towards the others."""

import pandas as pd

from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.sections import extremes
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.tables.meta_analysis import shrunken_table
from offsite.evaluation.tables.reading import Evaluated

VALUES = {"a": (0.6, 60), "b": (0.8, 60), "c": (0.85, 60), "d": (0.3, 5), "e": (0.95, 60)}


def evaluated(metric: str, patients: int = 60) -> Evaluated:
    rows = [
        {
            "split": "test",
            "site": site,
            "site_role": "training",
            "metric": metric,
            "value": value,
            "low": value - 0.1,
            "high": min(value + 0.1, 1.0),
            "n": min(n, patients),
            "n_patients": min(n, patients),
            "reason": "ok",
            "effect": value,
            "effect_error": 0.4,
        }
        for site, (value, n) in VALUES.items()
    ]
    per_site = pd.DataFrame(rows)
    shrunken = shrunken_table(per_site, EvaluationSettings())
    return Evaluated(tables={"per_site": per_site, "shrunken": shrunken})


def test_both_estimates_stand_side_by_side_for_worst_and_best() -> None:
    made = evaluated("auroc")
    (table,) = extremes.table(Findings(made))
    shrunken = made.tables["shrunken"]
    shrunken = shrunken[shrunken["site_role"] == "training"].set_index("site")["shrunken"]
    assert [row[0].text for row in table.groups[0].rows] == ["Worst: a", "Best: e"]
    for row, site in zip(table.groups[0].rows, ("a", "e"), strict=True):
        assert row[1].text == f"{VALUES[site][0]:.2f}"
        assert row[2].text == f"{shrunken[site]:.2f}"
    (point,) = extremes.points(Findings(made))
    assert f"AUROC is a {shrunken['a']:.2f} (95\u202f% interval" in point.sentence


def test_a_loss_turns_worst_and_best_round() -> None:
    made = evaluated("brier")
    (table,) = extremes.table(Findings(made))
    assert [row[0].text for row in table.groups[0].rows] == ["Worst: e", "Best: a"]


def test_sites_too_small_to_judge_are_neither() -> None:
    made = evaluated("auroc", patients=20)
    assert extremes.table(Findings(made)) == ()
    assert extremes.points(Findings(made)) == []
