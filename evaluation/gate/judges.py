"""How each rule is judged, site by site. What is undefined never passes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from offsite.evaluation.gate.candidate import Candidate, source_of
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
from offsite.evaluation.tables.reading import Record
from offsite.evaluation.wording import change, interval, number, present, reason

Fault = Callable[[Record], str | None]
"""Why a row does not meet what is asked, as the end of a sentence; ``None`` where it does."""


def _fault(
    column: str, fine: Callable[[float], bool], lacking: str, said: Callable[[Record], str]
) -> Fault:
    """The fault of a row whose number in a column is not fine, or which has none."""

    def fault(row: Record) -> str | None:
        if row[column] is None:
            lacks = lacking or f"has no {'value' if row['value'] is None else 'interval'}"
            return f"{lacks} ({reason(row['reason'])})"
        return None if fine(row[column]) else said(row)

    return fault


def _bounds(row: Record) -> str:
    return interval(row["low"], row["high"])


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

    def fault(column: str, limit: float) -> Fault:
        return _fault(
            column,
            lambda value: value >= limit if low_end else value <= limit,
            "",
            lambda row: f"has {number(row['value'])} ({_bounds(row)})",
        )

    def words(limit: float) -> str:
        return f"of at {'least' if low_end else 'most'} {number(limit)}"

    source = source_of(rule)
    at = " at the chosen threshold" if source and source.table == "operating_points" else ""
    by = "" if rule.bound == "value" else " by the careful end of its interval"
    floor = rule.limit if rule.floor is None else rule.floor
    asked = f"{described(rule.metric).label} {words(rule.limit)}{at}{by}"
    faults = fault(bound, rule.limit), fault("value", floor)
    return _judged(candidate, rule, asked, *faults, each=words(floor))


def _calibration(candidate: Candidate, rule: Calibration) -> RuleVerdict:
    where = {"task": rule.task, "calibrator": rule.calibrator, "metric": "slope"}
    slopes = candidate.rows("calibration", rule, **where) or {}
    if (pooled := candidate.pooled("calibration", rule, **where)) is not None:
        slopes = {**slopes, pooled["site"]: pooled}

    def off(limit: float) -> Fault:
        return _fault(
            "excess",
            lambda excess: excess <= limit,
            "has no calibration error",
            lambda row: f"is off by {number(row['excess'])} beyond noise",
        )

    def fault(row: Record) -> str | None:
        found = off(rule.excess_at_most)(row)
        if found is not None or rule.slope_at_least is None:
            return found
        slope = slopes.get(row["site"], {})
        value = slope.get("value")
        if value is None:
            return f"has no calibration slope ({reason(slope.get('reason', 'no_samples'))})"
        return None if value >= rule.slope_at_least else f"has slope {number(value)}"

    words = f"calibration error at most {number(rule.excess_at_most)} beyond noise"
    if rule.slope_at_least is not None:
        words += f" and slope at least {number(rule.slope_at_least)}"
    floor = rule.each_site or rule.excess_at_most
    each = f"an error of at most {number(floor)} beyond noise"
    return _judged(candidate, rule, f"{words} ({rule.task})", fault, off(floor), each=each)


def _threshold_transfer(candidate: Candidate, rule: ThresholdTransfer) -> RuleVerdict:
    floor = rule.each_site or rule.gap_at_most

    def fault(column: str, limit: float) -> Fault:
        return _fault(
            column,
            lambda gap: gap <= limit,
            "has no transfer gap",
            lambda row: f"misses {number(row['value'])} more than promised ({_bounds(row)})",
        )

    gap = f"at most {number(rule.gap_at_most)} under what was promised"
    faults = fault("high", rule.gap_at_most), fault("value", floor)
    words, each = f"sensitivity for {rule.task} {gap}", f"at most {number(floor)} under it"
    return _judged(candidate, rule, words, *faults, each=each)


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

    def fault(column: str, limit: float) -> Fault:
        return _fault(
            column,
            lambda found: (-found if down else found) >= -limit,
            "cannot be compared",
            lambda row: f"may lose more: {change(row['difference'])} ({_bounds(row)})",
        )

    floor, side = rule.each_site or rule.margin, "higher" if down else "lower"
    words = f"{name.label} not {side} than version {candidate.champion} by more than"
    faults = fault("high" if down else "low", rule.margin), fault("difference", floor)
    each = f"by more than {number(floor, 3)}"
    return _judged(candidate, rule, f"{words} {number(rule.margin, 3)}", *faults, each=each)


def _judged(
    candidate: Candidate, rule: Any, words: str, fault: Fault, value: Fault, *, each: str
) -> RuleVerdict:
    """Every site by itself, or all of them together and each by its estimate.

    ``words`` say what is wanted, ``each`` the limit of the estimate of single sites, which
    ``value`` looks at.
    """
    source = source_of(rule)
    assert source is not None
    wanted = {"metric": source.metric, **source.wanted}
    rows, sites = candidate.rows(source.table, rule, **wanted), candidate.sites(rule)
    if rows is None or not sites:
        why = "not measured, the evaluation has no such table"
        why = why if rows is None else "no site of the chosen roles is left to judge"
        return RuleVerdict(rule=rule.rule, passed=False, sentence=f"{words}: {why}")
    if rule.floor is None:
        good = f"{words} at every one of {len(sites)} sites"
        return _verdict(rule, list(_faults(sites, rows, fault)), good, words)
    words = f"{words} over {len(sites)} sites together, and at each of them {each}"
    pool = candidate.pooled(source.table, rule, **wanted)
    whole = "was not measured" if pool is None else fault(pool)
    if mixed := candidate.pooled_though_left_out(rule):
        whole = f"holds the rows of {', '.join(mixed)}, left out here: evaluate without them"
    faults = [("", f"the pool of sites {whole}")] if whole is not None else []
    return _verdict(rule, [*faults, *_faults(sites, rows, value)], words, words)


def _faults(sites: list[str], rows: dict[str, Record], fault: Fault) -> Iterator[tuple[str, str]]:
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
