"""All alarms of a page are one family: Holm over every question, and small sites are not asked."""

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.alarms import ALARMS, alarm_table, smallest_level, usable_rules
from offsite.evaluation.operating_points.choosing import PACKAGED, RULES
from offsite.evaluation.tables.schemas import SCHEMAS


def per_site(patients: dict[str, int]) -> pd.DataFrame:
    return SCHEMAS["per_site"].frame(
        {"split": "test", "site": site, "site_role": "held_out", "metric": "accuracy"}
        | {"value": 0.9, "n": n, "n_patients": n, "reason": "ok"}
        for site, n in patients.items()
    )


def shift(p_values: dict[tuple[str, str], float]) -> pd.DataFrame:
    return SCHEMAS["shift"].frame(
        {"site": site, "site_role": "held_out", "kind": kind, "p_value": p, "n_patients": 5}
        for (site, kind), p in p_values.items()
    )


def test_questions_of_all_kinds_are_one_family_by_holm() -> None:
    p_values = {
        ("a", "covariate"): 0.001,
        ("b", "prevalence"): 0.012,
        ("c", "performance"): 0.02,
        ("a", "performance"): 0.3,
    }
    sizes = per_site(dict.fromkeys("abc", 40))
    found = alarm_table({"per_site": sizes, "shift": shift(p_values)}, 0.05)
    # .001 <= .05/4, .012 <= .05/3, .02 <= .05/2, .3 > .05.
    assert found["raised"].tolist() == [True, True, True, False]
    assert found["adjusted"].tolist() == pytest.approx([0.004, 0.036, 0.04, 0.3])
    assert found["alarm"].tolist() == ["images", "case_mix", "performance", "performance"]
    # One question more at its own 5 % takes the last alarm away.
    more = alarm_table(
        {"per_site": sizes, "shift": shift(p_values | {("b", "covariate"): 0.9})}, 0.05
    )
    assert more["raised"].tolist() == [True, True, False, False, False]


def test_a_site_too_small_to_conclude_on_is_not_asked() -> None:
    p_values = {("tiny", "covariate"): 1e-9, ("large", "covariate"): 0.04}
    tables = {"per_site": per_site({"tiny": 29, "large": 30}), "shift": shift(p_values)}
    found = alarm_table(tables, 0.05)
    assert found["site"].tolist() == ["large"]
    assert found["raised"].tolist() == [True]


def confusion(counts: dict[str, tuple[int, int, int, int]]) -> pd.DataFrame:
    return SCHEMAS["confusion"].frame(
        {"site": site, "site_role": "held_out", "true_class": true, "predicted_class": called}
        | {"count": n}
        for site, cells in counts.items()
        for (true, called), n in zip(
            (("ill", "ill"), ("ill", "well"), ("well", "ill"), ("well", "well")), cells, strict=True
        )
    )


def test_one_answer_is_an_alarm_only_where_it_is_unlike_elsewhere() -> None:
    sizes = per_site({"odd": 40, "others": 400})
    rare = confusion({"odd": (0, 1, 0, 39), "others": (2, 4, 2, 392)})  # 1 % are called ill
    found = alarm_table({"per_site": sizes, "confusion": rare}, 0.05)
    assert found["p_value"].tolist() == pytest.approx([(397 / 401) ** 40])
    assert not found["raised"].any()
    common = confusion({"odd": (0, 15, 0, 25), "others": (100, 50, 50, 200)})
    found = alarm_table({"per_site": sizes, "confusion": common}, 0.05)
    assert found["raised"].tolist() == [True]
    assert found["task"].tolist() == ["well"]


def test_tables_of_earlier_versions_without_p_values_accuse_nobody() -> None:
    old = shift({("a", "covariate"): 0.0}).drop(columns="p_value")
    assert alarm_table({"per_site": per_site({"a": 99}), "shift": old}, 0.05).empty


def test_the_rule_that_ships_is_the_one_that_is_judged() -> None:
    rows = pd.DataFrame({"rule": list(RULES), "threshold": [0.5, 0.4, 0.3]})
    assert usable_rules(rows)[0] == PACKAGED
    rows.loc[rows["rule"] == PACKAGED, "threshold"] = np.nan
    assert PACKAGED not in usable_rules(rows)
    assert smallest_level(0.05, 10) == pytest.approx(0.05 / (10 * len(ALARMS)))
