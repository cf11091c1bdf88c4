"""The example gates of the documentation pass good candidates and not worse ones."""

import re
from pathlib import Path

import pandas as pd
import pytest

from offsite.evaluation.gate.planning.rates import ALL, Plan, pass_rates, rule_names
from offsite.evaluation.gate.planning.scenario import Scenario
from offsite.evaluation.gate.rules import load_rules
from offsite.evaluation.statistics.binomial import exact_interval

GATES = Path(__file__).parents[4] / "docs" / "gates"


def shown(name: str) -> pd.DataFrame:
    return pd.read_csv(GATES / f"{name}-plan" / "pass_rates.csv")


NAMES = ("small", "middle", "large")


def test_the_example_gates_stand_beside_their_tables():
    assert sorted(file.stem for file in GATES.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_an_example_gate_is_of_these_rules_and_keeps_the_promise(name):
    table = shown(name)
    assert set(table["rules"]) == {load_rules(GATES / f"{name}.yaml").digest()[:12]}
    assert set(table["rule"]) == {*rule_names(load_rules(GATES / f"{name}.yaml")), ALL}
    whole = table[table["rule"] == ALL].set_index("candidate")
    assert whole["rate"][["equal", "better"]].min() >= 0.7
    assert whole["rate"][["worse", "worse at sites"]].max() <= 0.05
    assert whole["draws"].min() >= 50


def test_the_page_of_the_gates_shows_what_the_tables_hold():
    page = (GATES / "README.md").read_text()
    for name in NAMES:
        table = shown(name)
        whole = table[table["rule"] == ALL].set_index("candidate")
        cells = [
            f"{100 * row.rate:.0f} % ({100 * row.low:.0f}–{100 * row.high:.0f})"
            for row in whole.itertuples()
        ]
        line = next(line for line in page.splitlines() if line.startswith(f"| [{name}]"))
        assert [cell.strip() for cell in line.split("|")[3:7]] == cells
        draws = whole["draws"].iloc[0]
        assert re.search(rf"{name}\.yaml --prevalence 0.3 .*--draws {draws}$", page, flags=re.M)


def drawn_anew(name: str, draws: int) -> pd.Series:
    fields = {each: shown(name)[each].iloc[0] for each in Scenario.model_fields}
    scenario = Scenario.model_validate(
        {each: None if pd.isna(value) else value for each, value in fields.items()}
    )
    # Other seeds than those of the table, so that it is not its own witness.
    plan = Plan(gate=load_rules(GATES / f"{name}.yaml"), scenario=scenario, draws=draws, seed=100)
    found = pass_rates(plan)
    return found[found["rule"] == ALL].set_index("candidate")["passed"]


def test_the_small_example_gate_keeps_its_promise_on_other_seeds():
    passed = drawn_anew("small", 20)
    assert passed["equal"] >= 14
    assert passed[["worse", "worse at sites"]].sum() <= 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_no_example_gate_breaks_its_promise_on_other_seeds(name):
    draws = 60
    passed = drawn_anew(name, draws)
    assert exact_interval(int(passed["equal"]), draws)[1] >= 0.7
    for candidate in ("worse", "worse at sites"):
        assert exact_interval(int(passed[candidate]), draws)[0] <= 0.05
