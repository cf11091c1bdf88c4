"""How each rule is judged, site by site. What is undefined never passes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from offsite.evaluation.gate.candidate import Candidate, Row, source_of
from offsite.evaluation.gate.rules import (
    AnyRule,
    Calibration,
    Limit,
    MinimumN,
    NonInferiority,
    Pooled,
    ThresholdTransfer,
    WorstSite,
)
from offsite.evaluation.gate.verdict import RuleVerdict
from offsite.evaluation.metrics.names import described
from offsite.evaluation.wording import change, interval, number, present, reason


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a rule asks of a row.

    Attributes
    ----------
    words : str
        What is wanted.
    fault : callable
        Why a row does not meet it, as the end of a sentence; ``None`` where it does.
    value : callable
        Why the estimate of a single site breaks the limit of single sites.
    each : str
        That limit in words; empty where there is none.
    """

    words: str
    fault: Callable[[Row], str | None]
    value: Callable[[Row], str | None]
    each: str = ""


def _minimum_n(candidate: Candidate, rule: MinimumN) -> RuleVerdict:
    table = candidate.tables["per_site"]
    faults, total = [], 0
    sites = candidate.sites(rule)
    for site in sites:
        patients = int(present(table.loc[table["site"] == site, "n_patients"].max()) or 0)
        total += patients
        if patients < rule.patients:
            faults.append((site, f"{patients} labelled patients at {site}"))
    if len(sites) < rule.number_of_sites:
        said = f"{len(sites)} of {rule.number_of_sites} sites ({rule.sites.replace('_', ' ')})"
        faults.append(("", f"only {said}"))
    good, few = f"at least {rule.patients} labelled patients at each of {len(sites)} sites", ""
    if rule.together > 1:
        good, few = f"{good} and {rule.together} together", f", {rule.together} together,"
        if total < rule.together:
            faults.append(("", f"{total} labelled patients together"))
    wanted = f"fewer than {rule.patients} labelled patients{few} or too few sites"
    return _verdict(rule, faults, good, wanted)


def _limit(candidate: Candidate, rule: Limit) -> RuleVerdict:
    low_end = rule.at_least is not None
    bound = "value" if rule.bound == "value" else "low" if low_end else "high"

    def broken(row: Row, column: str, limit: float) -> str | None:
        value = present(row[column])
        if value is None:
            return f"has no {'interval' if present(row['value']) is not None else 'value'} ({reason(str(row['reason']))})"
        if (value >= limit) if low_end else (value <= limit):
            return None
        return f"has {number(present(row['value']))} ({interval(present(row['low']), present(row['high']))})"

    def words(limit: float) -> str:
        return f"of at {'least' if low_end else 'most'} {number(limit)}"

    source = source_of(rule)
    at = " at the chosen threshold" if source and source.table == "operating_points" else ""
    by = "" if rule.bound == "value" else " by the careful end of its interval"
    floor = rule.limit if rule.floor is None else rule.floor
    asked = _Asked(
        words=f"{described(rule.metric).label} {words(rule.limit)}{at}{by}",
        fault=lambda row: broken(row, bound, rule.limit),
        value=lambda row: broken(row, "value", floor),
        each=words(floor),
    )
    return _judged(candidate, rule, asked)


def _calibration(candidate: Candidate, rule: Calibration) -> RuleVerdict:
    where = {"task": rule.task, "calibrator": rule.calibrator, "metric": "slope"}
    slopes = candidate.rows("calibration", rule, **where) or {}
    if (pooled := candidate.pooled("calibration", rule, **where)) is not None:
        slopes = {**slopes, str(pooled["site"]): pooled}

    def off(row: Row, limit: float) -> str | None:
        excess = present(row["excess"])
        if excess is None:
            return f"has no calibration error ({reason(str(row['reason']))})"
        return None if excess <= limit else f"is off by {number(excess)} beyond noise"

    def fault(row: Row) -> str | None:
        found = off(row, rule.excess_at_most)
        if found is not None or rule.slope_at_least is None:
            return found
        slope = slopes.get(str(row["site"]), {})
        value = present(slope.get("value"))
        if value is None:
            return f"has no calibration slope ({reason(str(slope.get('reason', 'no_samples')))})"
        return None if value >= rule.slope_at_least else f"has slope {number(value)}"

    words = f"calibration error at most {number(rule.excess_at_most)} beyond noise"
    if rule.slope_at_least is not None:
        words += f" and slope at least {number(rule.slope_at_least)}"
    floor = rule.each_site or rule.excess_at_most
    asked = _Asked(
        words=f"{words} ({rule.task})",
        fault=fault,
        value=lambda row: off(row, floor),
        each=f"an error of at most {number(floor)} beyond noise",
    )
    return _judged(candidate, rule, asked)


def _threshold_transfer(candidate: Candidate, rule: ThresholdTransfer) -> RuleVerdict:
    floor = rule.each_site or rule.gap_at_most

    def broken(row: Row, column: str, limit: float) -> str | None:
        gap = present(row[column])
        if gap is None:
            return f"has no transfer gap ({reason(str(row['reason']))})"
        if gap <= limit:
            return None
        bounds = interval(present(row["low"]), present(row["high"]))
        return f"misses {number(present(row['value']))} more than promised ({bounds})"

    gap = f"at most {number(rule.gap_at_most)} under what was promised"
    asked = _Asked(
        words=f"sensitivity for {rule.task} {gap}",
        fault=lambda row: broken(row, "high", rule.gap_at_most),
        value=lambda row: broken(row, "value", floor),
        each=f"at most {number(floor)} under it",
    )
    return _judged(candidate, rule, asked)


def _non_inferiority(candidate: Candidate, rule: NonInferiority) -> RuleVerdict:
    name = described(rule.metric)
    if candidate.champion is None:
        said = "there is no champion yet, so there is nothing to be worse than"
        return RuleVerdict(rule=rule.rule, passed=True, sentence=said)
    if candidate.champion == candidate.version:
        said = f"version {candidate.champion} is the champion itself, and not worse than itself"
        return RuleVerdict(rule=rule.rule, passed=True, sentence=said)
    if "differences" not in candidate.tables:
        said = (
            f"not compared: the registry does not hold the test predictions of the champion, version"
            f" {candidate.champion}; register its run again where it still stands, or promote the"
            " candidate with a written reason"
        )
        return RuleVerdict(rule=rule.rule, passed=False, sentence=said)
    down = name.higher is False

    def broken(row: Row, column: str, limit: float) -> str | None:
        change_of = present(row[column])
        if change_of is None:
            return f"cannot be compared ({reason(str(row['reason']))})"
        if (-change_of if down else change_of) >= -limit:
            return None
        bounds = interval(present(row["low"]), present(row["high"]))
        return f"may lose more: {change(present(row['difference']))} ({bounds})"

    floor, side = rule.each_site or rule.margin, "higher" if down else "lower"
    words = f"{name.label} not {side} than version {candidate.champion} by more than"
    asked = _Asked(
        words=f"{words} {number(rule.margin, 3)}",
        fault=lambda row: broken(row, "high" if down else "low", rule.margin),
        value=lambda row: broken(row, "difference", floor),
        each=f"by more than {number(floor, 3)}",
    )
    return _judged(candidate, rule, asked)


def _judged(candidate: Candidate, rule: Any, asked: _Asked) -> RuleVerdict:
    """Every site by itself, or all of them together and each by its estimate."""
    source = source_of(rule)
    assert source is not None
    wanted = {"metric": source.metric, **source.wanted}
    rows = candidate.rows(source.table, rule, **wanted)
    if rows is None:
        said = f"{asked.words}: not measured, the evaluation has no such table"
        return RuleVerdict(rule=rule.rule, passed=False, sentence=said)
    sites = candidate.sites(rule)
    if not sites:
        said = f"{asked.words}: no site of the chosen roles is left to judge"
        return RuleVerdict(rule=rule.rule, passed=False, sentence=said)
    if rule.floor is None:
        faults = list(_faults(sites, rows, asked.fault))
        good = f"{asked.words} at every one of {len(sites)} sites"
        return _verdict(rule, faults, good, asked.words)
    words = f"{asked.words} over {len(sites)} sites together, and at each of them {asked.each}"
    pool = candidate.pooled(source.table, rule, **wanted)
    whole = _pool_fault(candidate, rule, pool, asked)
    faults = [("", f"the pool of sites {whole}")] if whole is not None else []
    return _verdict(rule, [*faults, *_faults(sites, rows, asked.value)], words, words)


def _pool_fault(candidate: Candidate, rule: Any, pool: Row | None, asked: _Asked) -> str | None:
    if mixed := candidate.pooled_though_left_out(rule):
        return f"holds the rows of {', '.join(mixed)}, left out here: evaluate without them"
    return "was not measured" if pool is None else asked.fault(pool)


def _faults(
    sites: list[str], rows: dict[str, Row], fault: Callable[[Row], str | None]
) -> Iterator[tuple[str, str]]:
    for site in sites:
        problem = "was not measured" if site not in rows else fault(rows[site])
        if problem is not None:
            yield site, f"{site} {problem}"


def _verdict(rule: Any, faults: list[tuple[str, str]], good: str, wanted: str) -> RuleVerdict:
    if not faults:
        return RuleVerdict(rule=rule.rule, passed=True, sentence=good)
    return RuleVerdict(
        rule=rule.rule,
        passed=False,
        sentence=f"wanted: {wanted}; but {'; '.join(said for _, said in faults)}",
        sites=tuple(site for site, _ in faults if site),
    )


JUDGES: Mapping[type[AnyRule], Callable[[Candidate, Any], RuleVerdict]] = {
    MinimumN: _minimum_n,
    WorstSite: _limit,
    Pooled: _limit,
    Calibration: _calibration,
    ThresholdTransfer: _threshold_transfer,
    NonInferiority: _non_inferiority,
}
