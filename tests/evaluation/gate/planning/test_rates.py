"""What a plan says is what the gate does with the same cases."""

from dataclasses import replace

import pandas as pd
import pytest

from offsite.children.pool import HERE
from offsite.errors import InputError
from offsite.evaluation.evaluating import evaluate
from offsite.evaluation.gate.judging import judge
from offsite.evaluation.gate.planning import rates
from offsite.evaluation.gate.planning.rates import ALL, Plan, judged, pass_rates, rule_names
from offsite.evaluation.gate.planning.scenario import CANDIDATES, Scenario
from offsite.evaluation.gate.planning.simulating import Simulator
from offsite.evaluation.gate.planning.tables import reading_of
from offsite.evaluation.gate.rules import GateSettings
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.tables.comparison import paired_differences

SMALL = Scenario(prevalence=0.4, sites=3, patients=60)


def gate(*rules: dict) -> GateSettings:
    return GateSettings.model_validate({"rules": list(rules)})


EVERY_KIND = gate(
    {"rule": "minimum_n", "patients": 60, "together": 180},
    {"rule": "worst_site", "metric": "sick/sensitivity", "at_least": 0.75},
    {"rule": "pooled", "metric": "sick/specificity", "at_least": 0.75, "each_site": 0.7},
    {"rule": "pooled", "metric": "sick/auroc", "at_least": 0.9, "each_site": 0.85},
    {"rule": "worst_site", "metric": "brier", "at_most": 0.4, "bound": "value"},
    {"rule": "threshold_transfer", "task": "sick", "gap_at_most": 0.08, "each_site": 0.12},
    {"rule": "calibration", "task": "sick", "slope_at_least": 0.8, "excess_at_most": 0.3},
    {"rule": "non_inferiority", "metric": "sick/auroc", "margin": 0.03, "each_site": 0.04},
)


def test_a_plan_judges_as_the_gate_judges_the_evaluation_of_the_same_predictions(tmp_path):
    """Each rule, candidate by candidate: with the tables of a whole evaluation and its draws."""
    reading = reading_of(EVERY_KIND)
    planned = reading.settings(SMALL.sensitivity, 0, 50)
    tasks = {"sick": TaskSettings(positive_classes=("positive",), target_sensitivity=0.9)}
    usual = EvaluationSettings(
        tasks=tasks, ordered=False, resamples=100, calibration_simulations=50
    )
    settings = ReportSettings(parts=("operating_points", "calibration"), metrics=usual)
    met: dict[str, list[bool]] = {}
    for drawn in Simulator(SMALL, planned, reading.classes).draw(seed=3, number=0):
        if drawn.candidate in ("better", "worse"):
            continue
        verdict = judged(EVERY_KIND, drawn, reading)
        rows = drawn.every.predictions
        rows = replace(rows, table=rows.table.astype({"label": str}))
        first = drawn.champion.predictions
        first = replace(first, table=first.table.astype({"label": str}))
        made = evaluate(rows, tmp_path / drawn.candidate, settings)
        differences = paired_differences(first, rows, usual)
        real = judge(made.folder, EVERY_KIND, champion="1", version="2", differences=differences)
        assert [rule.sentence for rule in verdict.rules] == [rule.sentence for rule in real.rules]
        for name, rule in zip(rule_names(EVERY_KIND), real.rules, strict=True):
            met.setdefault(name, []).append(rule.passed)
    assert {True, False} == {passed for each in met.values() for passed in each}


def test_rates_count_verdicts_and_depend_on_the_seed_alone(monkeypatch):
    rule = {"rule": "non_inferiority", "metric": "auroc", "margin": 0.03}
    plan = Plan(gate=gate(rule), scenario=SMALL, draws=8)
    told: list[int] = []
    first = pass_rates(plan, progress=lambda: told.append(1))
    assert len(told) == 8
    assert list(first["candidate"].unique()) == list(CANDIDATES)
    assert list(first["rule"].unique()) == ["non_inferiority auroc", ALL]
    monkeypatch.setattr(rates, "_BLOCK", 3)
    again = pass_rates(plan, workers=2, place=HERE)
    pd.testing.assert_frame_equal(first, again)
    blocks: dict[int, list[list[int]]] = {}
    pass_rates(plan, keep=blocks.__setitem__)
    assert sorted(blocks) == [0, 3, 6]
    del blocks[3]
    judged_now: list[int] = []
    resumed = pass_rates(plan, known=blocks, keep=lambda start, _: judged_now.append(start))
    pd.testing.assert_frame_equal(first, resumed)
    assert judged_now == [3]
    passed = first[first["rule"] == ALL].set_index("candidate")["passed"]
    assert passed["better"] >= passed["equal"] >= passed["worse"]
    assert (first["low"] <= first["rate"]).all()
    assert (first["rate"] <= first["high"]).all()


def test_an_interval_without_a_formula_is_drawn_and_others_are_not():
    for metric, wanted in (("auroc", 0), ("brier", 200)):
        rule = {"rule": "non_inferiority", "metric": metric, "margin": 0.03}
        plan = Plan(gate=gate(rule), scenario=SMALL, draws=1)
        assert rates._needed_resamples(plan, reading_of(plan.gate)) == wanted


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"rule": "threshold_transfer", "task": "a"}, {"rule": "calibration", "task": "b"}],
         r"several tasks \(a, b\)"),
        ([{"rule": "worst_site", "metric": "quadratic_weighted_kappa", "at_least": 0.5}],
         "'quadratic_weighted_kappa' is not measured of positive and negative cases"),
        ([{"rule": "worst_site", "metric": "auroc/mild", "at_least": 0.5}], "'auroc/mild'"),
        ([{"rule": "non_inferiority", "metric": "kindness", "margin": 0.1}], "'kindness'"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_planned_are_named(rules, said):
    with pytest.raises(InputError, match=said):
        reading_of(gate(*rules))


def test_sites_that_a_gate_leaves_out_by_name_are_none_of_the_planned_ones():
    rules = {"rules": [{"rule": "minimum_n", "patients": 60}], "left_out": {"Annex": "too new yet"}}
    plan = Plan(gate=GateSettings.model_validate(rules), scenario=SMALL, draws=1)
    assert (pass_rates(plan)["rate"] == 1).all()
