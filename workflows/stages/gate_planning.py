"""A gate planned before there are candidates: its pass rates as a table, a picture and a file."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from offsite.children.limits import Limits
from offsite.children.pool import Children
from offsite.cores import usable_cores
from offsite.errors import InputError
from offsite.evaluation.figures.pass_rates import pass_rate_figure
from offsite.evaluation.gate.planning.rates import ALL, Counts, Plan, pass_rates
from offsite.evaluation.gate.planning.scenario import Scenario
from offsite.evaluation.gate.planning.tables import reading_of
from offsite.evaluation.gate.rules import load_rules
from offsite.evaluation.report.page import standalone
from offsite.evaluation.tables.reading import table_text
from offsite.files import BOOKKEEPING, digest_of
from offsite.locks import writing
from offsite.workflows.console.messages import stage
from offsite.written import check_own, write_own

TABLE, PICTURE = "pass_rates.csv", "pass_rates.svg"
_JOURNAL = f"{BOOKKEEPING}blocks"
_UNHURRIED = Limits(case_seconds=86_400, case_gib=64)  # ours, however slow the machine


def plan_gate(
    rules: Path,
    scenarios: Sequence[Scenario],
    folder: Path | None = None,
    *,
    draws: int,
    seed: int,
) -> tuple[pd.DataFrame, Path]:
    """Simulate candidates in each scenario, judge them, and write how often they pass.

    A call that was killed goes on where it stopped when it is made again.

    Parameters
    ----------
    rules : path
        The rules of a gate (YAML, docs/gate.md).
    scenarios : sequence of Scenario
        One for each number of patients.
    folder : path, optional
        For ``pass_rates.csv`` and ``pass_rates.svg``; by default beside the rules.
    draws, seed : int
        Simulated collections of cases, and their seed.

    Returns
    -------
    pandas.DataFrame, path
        ``candidate, rule, passed, draws, rate, low, high``, beside the digest of the rules, every
        setting of the scenario and the seed; and the folder.

    Raises
    ------
    InputError
        The rules cannot be used or planned, or a scenario cannot be simulated or measured.
    """
    gate = load_rules(rules)
    reading_of(gate)
    for scenario in scenarios:
        scenario.check()
    if len({scenario.patients for scenario in scenarios}) < len(scenarios):
        raise InputError(
            "two plans have the same number of patients", remedy="Give each --patients once"
        )
    where = folder or rules.with_name(f"{rules.stem}-plan")
    with writing(where):
        for name in (TABLE, PICTURE):
            check_own(where / name)
        table = pd.concat(
            [
                _rates(Plan(gate=gate, scenario=s, draws=draws, seed=seed), where / _JOURNAL)
                for s in scenarios
            ],
            ignore_index=True,
        )
        write_own(where / TABLE, table_text(table))
        write_own(where / PICTURE, standalone(pass_rate_figure(table, ALL)))
        (where / _JOURNAL).unlink(missing_ok=True)
    return table, where


def _rates(plan: Plan, journal: Path) -> pd.DataFrame:
    workers, name = usable_cores(), f"{plan.scenario.patients} patients a site"
    key = digest_of([plan.gate.digest(), plan.scenario.digest(), plan.draws, plan.seed])
    known = _known(journal, key)
    with (
        stage(name, plan.draws) as advance,
        Children(workers, _UNHURRIED) as children,
        journal.open("a", encoding="utf-8") as kept,
    ):

        def keep(start: int, counts: Counts) -> None:
            kept.write(f"{json.dumps([key, start, counts])}\n")
            kept.flush()

        rates = pass_rates(
            plan, workers=workers, place=children, progress=advance, known=known, keep=keep
        )
    facts = {"rules": plan.gate.digest()[:12], **plan.scenario.model_dump(), "seed": plan.seed}
    return rates.assign(**facts)


def _known(journal: Path, key: str) -> dict[int, Counts]:
    """The blocks of draws that a call before this one judged; a line cut short counts for nothing."""
    found = {}
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else ():
        with contextlib.suppress(ValueError, TypeError):
            of, start, counts = json.loads(line)
            if of == key:
                found[start] = counts
    return found
