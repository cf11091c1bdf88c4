"""`offsite model plan-gate`, as a person calls it."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from offsite.children.pool import HERE
from offsite.evaluation.gate.planning.scenario import CANDIDATES, Scenario
from offsite.workflows.cli import main
from offsite.workflows.stages import gate_planning
from offsite.workflows.stages.gate_planning import plan_gate

RULES = (
    "rules:\n"
    "  - {rule: minimum_n, patients: 50}\n"
    "  - {rule: pooled, metric: sick/sensitivity, at_least: 0.7, each_site: 0.5}\n"
)
SCENARIO = Scenario(prevalence=0.4, patients=60, sites=2)
USUAL = ["--prevalence", "0.4", "--patients", "60", "--sites", "2", "--draws", "2"]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "gate.yaml"
    file.write_text(RULES)
    return file


Called = Callable[..., tuple[int, str]]


@pytest.fixture
def called(
    rules: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Called:
    """Call the command as the shell does; its exit code and all that it said."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["offsite", "model", "plan-gate", *words])
        monkeypatch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), " ".join((said.out + said.err).split())

    return call


def test_table_picture_and_screen_say_who_passes(rules: Path, called: Called) -> None:
    code, said = called(str(rules), *USUAL, "--patients", "40")
    assert code == 0, said
    table = pd.read_csv(rules.with_name("gate-plan") / "pass_rates.csv")
    assert set(table["candidate"]) == set(CANDIDATES)
    assert set(table["patients"]) == {40, 60}
    short = table[(table["patients"] == 40) & (table["rule"] == "minimum_n")]
    assert (short["rate"] == 0).all()
    drawn = ElementTree.parse(rules.with_name("gate-plan") / "pass_rates.svg").getroot()
    assert "equal with 40 patients a site: 0 % pass" in "".join(drawn.itertext())
    assert "60 patients at each site" in said
    assert "pooled sick/sensitivity" in said
    # A folder that holds another's table is left as it is.
    (rules.with_name("gate-plan") / "pass_rates.csv").write_text("mine\n")
    assert called(str(rules), *USUAL)[0] == 2
    assert (rules.with_name("gate-plan") / "pass_rates.csv").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prevalence", "1.2"], "--prevalence: Input should be less than 1"),
        (["--prevalence", "0"], "--prevalence: Input should be greater than 0"),
        (["--patients", "3"], "3 patients at a site, of whom 1.2 are positive, are too few"),
        (["--patients", "60"], "two plans have the same number of patients"),
        (["--sensitivity", "0.98"], "leaves no room for a candidate that is 0.03 better"),
        (["--correlation", "1"], "--correlation: Input should be less than 1"),
        (["--held-out-sites", "5"], "5 of 2 hospitals cannot be held out"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_a_sentence(
    rules: Path, called: Called, words: list[str], said: str
) -> None:
    code, output = called(str(rules), *USUAL, *words)
    assert code == 2
    assert said in output.replace("│ ", "").replace(" │", "")
    assert not rules.with_name("gate-plan").exists()


def test_a_plan_that_was_killed_goes_on_and_ends_alike(
    rules: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(rules), *USUAL, "--draws", "12"]
    monkeypatch.setattr(gate_planning, "Children", lambda *_: contextlib.nullcontext(HERE))
    assert called(*words)[0] == 0
    folder = rules.with_name("gate-plan")
    whole = (folder / "pass_rates.csv").read_bytes()
    assert not (folder / ".offsite-blocks").exists()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(gate_planning, "pass_rate_figure", killed)
        with pytest.raises(KeyboardInterrupt):
            plan_gate(rules, [SCENARIO], draws=12, seed=0)
    kept = (folder / ".offsite-blocks").read_text().splitlines()
    assert len(kept) == 2
    (folder / ".offsite-blocks").write_text(f"{kept[0]}\n{kept[1][:20]}")
    assert called(*words)[0] == 0
    assert (folder / "pass_rates.csv").read_bytes() == whole
    assert not (folder / ".offsite-blocks").exists()


def test_rules_that_there_are_not_are_refused(rules: Path, called: Called) -> None:
    rules.write_text("rules:\n  - {rule: kindness}\n")
    code, output = called(str(rules), *USUAL)
    assert code == 2
    assert "kindness" in output
    code, output = called(str(rules.with_name("absent.yaml")), *USUAL)
    assert code == 2
    assert "absent.yaml" in output
