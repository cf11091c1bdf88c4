"""How often each rule, and all of them, let simulated candidates pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from offsite.children.pool import HERE, Place, threads_at
from offsite.evaluation.gate.judging import judge
from offsite.evaluation.gate.planning.scenario import CANDIDATES, Scenario
from offsite.evaluation.gate.planning.simulating import Drawn, Simulator
from offsite.evaluation.gate.planning.tables import Reading, judged_tables, reading_of
from offsite.evaluation.gate.rules import GateSettings
from offsite.evaluation.gate.verdict import GateVerdict
from offsite.evaluation.statistics.binomial import exact_interval
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.sites import GAP, WORST

ALL = "all rules"
DRAWS = 2000
_RESAMPLES, _SIMULATIONS = 200, 200
_BLOCK = 10
Counts = list[list[int]]
"""How often each candidate (a row) met each rule, and all of them (the last column)."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A gate and what it is planned for.

    Attributes
    ----------
    gate : GateSettings
        The rules.
    scenario : Scenario
        Hospitals, patients and candidates.
    draws : int
        Simulated collections of cases.
    seed : int
        Of the draws.
    """

    gate: GateSettings
    scenario: Scenario
    draws: int = DRAWS
    seed: int = 0


def pass_rates(
    plan: Plan,
    *,
    workers: int = 1,
    place: Place = HERE,
    progress: Callable[[], object] = lambda: None,
    known: Mapping[int, Counts] | None = None,
    keep: Callable[[int, Counts], object] = lambda *_: None,
) -> pd.DataFrame:
    """How often each rule and all together let each candidate pass.

    In every draw all hospitals, patients, truths and scores are drawn anew, the tables that the
    rules read are made as an evaluation makes them, and judged by
    :func:`offsite.evaluation.gate.judging.judge`. Intervals with a formula (shares, AUROCs) are those
    of an evaluation to the digit. Other intervals rest on 200 draws of patients where an evaluation
    has 1,000, and the noise of calibration on 200 simulations where it has 500.

    Parameters
    ----------
    plan : Plan
        Rules and scenario.
    workers, place
        How many blocks of draws are judged at a time, and where.
    progress : callable
        Called for each draw, some at a time.
    known : mapping of int to list, optional
        Blocks of draws that were judged before, by their first draw.
    keep : callable
        Given each block that is judged now, for a later call with the same plan.

    Returns
    -------
    pandas.DataFrame
        ``candidate, rule, passed, draws, rate, low, high``: a row for each candidate and rule, the
        interval (95 %, exact) that of the draws.

    Raises
    ------
    InputError
        The rules cannot be planned, or the scenario cannot be simulated or measured.
    """
    plan.scenario.check()
    reading = reading_of(plan.gate)
    resamples = _needed_resamples(plan, reading)
    starts = range(0, plan.draws, _BLOCK)
    passed = np.zeros((len(CANDIDATES), len(plan.gate.rules) + 1), dtype=np.int64)
    judged_before = known or {}
    with threads_at(place, workers) as threads:
        waiting = {
            start: threads.submit(place.call, _block, plan, resamples, start)
            for start in starts
            if start not in judged_before
        }
        for start in starts:
            counts = judged_before[start] if start in judged_before else waiting[start].result()
            passed += np.array(counts)
            if start in waiting:
                keep(start, counts)
            for _ in range(start, min(start + _BLOCK, plan.draws)):
                progress()
    return pd.DataFrame(_rows(plan, passed))


def _block(plan: Plan, resamples: int, start: int) -> Counts:
    """How often each candidate (a row) met each rule, and all (the last column)."""
    reading = reading_of(plan.gate)
    simulator = _simulator(plan, reading, resamples)
    names = list(CANDIDATES)
    passed = np.zeros((len(names), len(plan.gate.rules) + 1), dtype=np.int64)
    for number in range(start, min(start + _BLOCK, plan.draws)):
        for drawn in simulator.draw(plan.seed, number):
            verdict = judged(plan.gate, drawn, reading)
            met = [*(rule.passed for rule in verdict.rules), verdict.passed]
            passed[names.index(drawn.candidate)] += met
    return passed.tolist()


def judged(gate: GateSettings, drawn: Drawn, reading: Reading) -> GateVerdict:
    """What the gate says of a candidate of one draw."""
    tables = dict(judged_tables(drawn, reading))
    differences = tables.pop("differences", None)
    # Sites that a gate leaves out by name are none of the simulated ones.
    rules = gate.model_copy(update={"left_out": {}})
    return judge(tables, rules, champion="1", version="2", differences=differences)


def _simulator(plan: Plan, reading: Reading, resamples: int) -> Simulator:
    settings = reading.settings(plan.scenario.sensitivity, resamples, _SIMULATIONS)
    return Simulator(plan.scenario, settings, reading.classes)


def _needed_resamples(plan: Plan, reading: Reading) -> int:
    """None, where every interval of the first draw has a formula."""
    first = next(_simulator(plan, reading, 0).draw(plan.seed, 0))
    tables = judged_tables(first, reading)
    read = (
        tables[name] for name in ("per_site", "operating_points", "differences") if name in tables
    )
    unstable = Reason.INTERVAL_UNSTABLE.value
    needed = [
        ((table["reason"] == unstable) & ~table["site"].isin([WORST, GAP])).any() for table in read
    ]
    return _RESAMPLES if any(needed) else 0


def _rows(plan: Plan, passed: np.ndarray) -> Iterator[dict[str, object]]:
    names = rule_names(plan.gate)
    for candidate, counts in zip(CANDIDATES, passed, strict=True):
        for name, count in zip([*names, ALL], counts, strict=True):
            low, high = exact_interval(int(count), plan.draws)
            yield {
                "candidate": candidate,
                "rule": name,
                "passed": int(count),
                "draws": plan.draws,
                "rate": count / plan.draws,
                "low": low,
                "high": high,
            }


def rule_names(gate: GateSettings) -> Sequence[str]:
    """A name for each rule, in their order: its kind and what it is about, numbered where alike."""
    names: list[str] = []
    for rule in gate.rules:
        about = getattr(rule, "metric", None) or getattr(rule, "task", None)
        name = f"{rule.rule} {about}" if about else rule.rule
        alike = sum(each == name or each.startswith(f"{name} (") for each in names)
        names.append(f"{name} ({alike + 1})" if alike else name)
    return names
