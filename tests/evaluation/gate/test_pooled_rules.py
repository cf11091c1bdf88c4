"""Rules that judge all sites together, with a limit for each that none may break."""

import pandas as pd
import pytest

from offsite.evaluation.gate.judging import judge
from offsite.evaluation.gate.rules import GateSettings
from offsite.evaluation.operating_points.choosing import PACKAGED

SITES = ("East", "West", "North")
RULES = {
    "pooled": {"metric": "auroc", "at_least": 0.85, "each_site": 0.7},
    "pooled at most": {"rule": "pooled", "metric": "brier", "at_most": 0.15, "each_site": 0.3},
    "pooled at the threshold": {
        "rule": "pooled", "metric": "referable/sensitivity", "at_least": 0.85, "each_site": 0.7,
    },
    "threshold_transfer": {"task": "referable", "gap_at_most": 0.05, "each_site": 0.2},
    "non_inferiority": {"metric": "auroc", "margin": 0.02, "each_site": 0.1},
    "calibration": {
        "task": "referable", "excess_at_most": 0.02, "slope_at_least": 0.8, "each_site": 0.1,
    },
}  # fmt: skip


def gate(*rules: dict, **more: object) -> GateSettings:
    return GateSettings.model_validate({"rules": list(rules), **more})


def rows(pool: dict, sites: dict[str, dict], **shared: object) -> list[dict]:
    base = {"split": "test", "n": 200, "n_patients": 100, "reason": "ok"} | shared
    found = [base | {"site": "_pooled", "site_role": "all"} | pool]
    found += [base | {"site": "_pooled", "site_role": "training", "value": None} | shared]
    return found + [
        base | {"site": s, "site_role": "held_out"} | cells for s, cells in sites.items()
    ]


def tables(name: str, pool: float, careful: float, sites: dict[str, float | None]) -> dict:
    """What a rule reads: the pool's value and careful end, and the values of the sites.

    The intervals of the sites are as wide as can be: alone, none would meet the rule.
    """
    where = {"task": "referable", "rule": PACKAGED, "metric": "auroc", "calibrator": "none"}
    kind = {
        "pooled": "per_site", "pooled at most": "per_site",
        "pooled at the threshold": "operating_points", "threshold_transfer": "operating_points",
        "non_inferiority": "differences", "calibration": "calibration",
    }[name]  # fmt: skip
    metric = {
        "pooled at most": "brier", "pooled at the threshold": "sensitivity",
        "threshold_transfer": "transfer_gap", "calibration": "ece",
    }.get(name, "auroc")  # fmt: skip
    column = {"non_inferiority": "difference", "calibration": "excess"}.get(name, "value")
    wide = {"low": -1.0, "high": 1.0}
    cells = {
        site: {column: value, "reason": "ok" if value is not None else "single_class", **wide}
        for site, value in sites.items()
    }
    ends = {"low": careful, "high": careful}
    if name == "calibration":
        ends = {}
    found = rows({column: pool, **ends}, cells, **(where | {"metric": metric}))
    if name == "calibration":
        found[0]["excess"] = careful
        slope = where | {"metric": "slope", "value": 0.9}
        found += rows({"value": 0.9}, {s: {"value": 0.1} for s in sites}, **slope)
    made = {kind: pd.DataFrame(found)}
    places = pd.DataFrame(rows({"value": 0.9}, {s: {"value": 0.9} for s in sites}, metric="auroc"))
    return {"per_site": places} | made


# Of each rule: the pool's value, its careful end where it passes and where not, and what a single
# site may show, and may not.
CASES = {
    "pooled": (0.9, 0.86, 0.84, 0.72, 0.68),
    "pooled at most": (0.1, 0.14, 0.16, 0.28, 0.32),
    "pooled at the threshold": (0.9, 0.86, 0.84, 0.72, 0.68),
    "threshold_transfer": (0.0, 0.04, 0.06, 0.18, 0.22),
    "non_inferiority": (0.0, -0.01, -0.03, -0.08, -0.12),
    "calibration": (0.01, 0.01, 0.03, 0.08, 0.12),
}


def verdict(name: str, pool: float, careful: float, sites: dict[str, float | None], **more: object):
    rule = RULES[name] | {"rule": RULES[name].get("rule", name)}
    made = tables(name, pool, careful, sites)
    differences = made.pop("differences", None)
    return judge(
        made, gate(rule, **more), champion="1", version="2", differences=differences
    ).rules[0]


@pytest.mark.parametrize("name", CASES)
def test_the_pool_is_judged_by_its_careful_end_and_each_site_by_its_estimate(name):
    pool, enough, short, fine, bad = CASES[name]
    sites = dict.fromkeys(SITES, pool)
    passed = verdict(name, pool, enough, sites | {"North": fine})
    assert passed.passed, passed.sentence
    assert "over 3 sites together" in passed.sentence
    narrow = verdict(name, pool, short, sites)
    assert not narrow.passed
    assert "the pool of sites" in narrow.sentence
    assert narrow.sites == ()
    hidden = verdict(name, pool, enough, sites | {"North": bad})
    assert not hidden.passed
    assert hidden.sites == ("North",)
    assert "the pool of sites" not in hidden.sentence.split("; but ")[1]


@pytest.mark.parametrize("name", CASES)
def test_a_site_without_a_value_and_a_missing_pool_never_pass(name):
    pool, enough, *_ = CASES[name]
    undefined = verdict(name, pool, enough, dict.fromkeys(SITES, pool) | {"West": None})
    assert not undefined.passed
    assert undefined.sites == ("West",)
    of_one_role = RULES[name] | {"rule": RULES[name].get("rule", name), "sites": "held_out"}
    made = tables(name, pool, enough, dict.fromkeys(SITES, pool))
    differences = made.pop("differences", None)
    absent = judge(made, gate(of_one_role), champion="1", version="2", differences=differences)
    assert "the pool of sites was not measured" in absent.rules[0].sentence


@pytest.mark.parametrize("name", CASES)
def test_a_pool_that_holds_a_site_that_is_left_out_is_not_judged(name):
    pool, enough, *_ = CASES[name]
    why = {"West": "its scanner was broken all spring"}
    found = verdict(name, pool, enough, dict.fromkeys(SITES, pool), left_out=why)
    assert not found.passed
    assert "holds the rows of West, left out here" in found.sentence


@pytest.mark.parametrize(
    ("rule", "stricter"),
    [
        ("pooled", {"each_site": 0.86}),
        ("pooled at most", {"each_site": 0.14}),
        ("threshold_transfer", {"each_site": 0.04}),
        ("non_inferiority", {"each_site": 0.01}),
        ("calibration", {"each_site": 0.01}),
    ],
)
def test_a_limit_of_single_sites_that_is_stricter_than_that_of_all_is_refused(rule, stricter):
    changed = RULES[rule] | {"rule": RULES[rule].get("rule", rule)} | stricter
    with pytest.raises(ValueError, match="stricter than the limit of all"):
        gate(changed)


def test_a_pool_needs_a_limit_for_each_site_and_patients_are_counted_together():
    with pytest.raises(ValueError, match="each_site"):
        gate({"rule": "pooled", "metric": "auroc", "at_least": 0.85})
    made = tables("pooled", 0.9, 0.9, dict.fromkeys(SITES, 0.9))
    for together, passes in ((300, True), (301, False)):
        rule = {"rule": "minimum_n", "patients": 100, "together": together}
        found = judge(made, gate(rule), champion=None, differences=None).rules[0]
        assert found.passed is passes
    assert "300 labelled patients together" in found.sentence
