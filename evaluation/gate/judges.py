"""How each rule is judged, site by site. What is undefined never passes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from offsite.evaluation.gate.rules import (
    AnyRule,
    Calibration,
    MinimumN,
    NonInferiority,
    Rule,
    ThresholdTransfer,
    WorstSite,
)
from offsite.evaluation.gate.verdict import RuleVerdict
from offsite.evaluation.metrics.names import described
from offsite.evaluation.operating_points.choosing import AT_THRESHOLD, PACKAGED
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import change, interval, number, present, reason

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is judged.

    Attributes
    ----------
    tables : mapping of str to pandas.DataFrame
        Tables of the evaluation, and ``differences`` where there is a champion.
    left_out : frozenset of str
        Sites that are not judged.
    champion, version : str or None
        Version of the champion, and of what is judged.
    """

    tables: Mapping[str, pd.DataFrame]
    left_out: frozenset[str]
    champion: str | None
    version: str | None = None

    def rows(self, name: str, about: Rule, /, **wanted: str) -> dict[str, Row] | None:
        """The rows of single sites by site, or ``None`` where the table is missing."""
        table = self.tables.get(name)
        if table is None:
            return None
        by_site: dict[str, Row] = {}
        for row in records(table):
            fits = all(str(row.get(key)) == value for key, value in wanted.items())
            if fits and self._judged(about, str(row["site"]), str(row.get("site_role", ""))):
                by_site[str(row["site"])] = row
        return by_site

    def sites(self, rule: Rule) -> list[str]:
        """The sites that a rule is about: those of the per-site table."""
        pairs = self.tables["per_site"][["site", "site_role"]].drop_duplicates()
        return [
            str(row["site"])
            for row in records(pairs)
            if self._judged(rule, str(row["site"]), str(row["site_role"]))
        ]

    def _judged(self, rule: Rule, site: str, role: str) -> bool:
        return (
            not site.startswith("_") and site not in self.left_out and rule.sites in ("all", role)
        )


def _minimum_n(candidate: Candidate, rule: MinimumN) -> RuleVerdict:
    table = candidate.tables["per_site"]
    faults = []
    sites = candidate.sites(rule)
    for site in sites:
        patients = present(table.loc[table["site"] == site, "n_patients"].max()) or 0
        if patients < rule.patients:
            faults.append((site, f"{patients:.0f} labelled patients at {site}"))
    if len(sites) < rule.number_of_sites:
        said = f"{len(sites)} of {rule.number_of_sites} sites ({rule.sites.replace('_', ' ')})"
        faults.append(("", f"only {said}"))
    good = f"at least {rule.patients} labelled patients at each of {len(sites)} sites"
    return _verdict(
        rule, faults, good, f"fewer than {rule.patients} labelled patients or too few sites"
    )


def _worst_site(candidate: Candidate, rule: WorstSite) -> RuleVerdict:
    label = described(rule.metric).label
    limit = rule.at_least if rule.at_least is not None else rule.at_most
    assert limit is not None
    low_end = rule.at_least is not None
    bound = "value" if rule.bound == "value" else "low" if low_end else "high"

    def fault(row: Row) -> str | None:
        value = present(row[bound])
        if value is None:
            return f"has no {'interval' if present(row['value']) is not None else 'value'} ({reason(str(row['reason']))})"
        if (value >= limit) if low_end else (value <= limit):
            return None
        return f"has {number(present(row['value']))} ({interval(present(row['low']), present(row['high']))})"

    words = f"{label} {'of at least' if low_end else 'of at most'} {number(limit)}"
    by = "" if rule.bound == "value" else " by the careful end of its interval"
    task, _, name = rule.metric.rpartition("/")
    if not task or name not in AT_THRESHOLD:
        rows = candidate.rows("per_site", rule, metric=rule.metric)
        return _each_site(candidate, rule, rows, fault, f"{words}{by}")
    # The per-site table has it at the stated threshold, by which no package decides.
    rows = candidate.rows("operating_points", rule, metric=name, task=task, rule=PACKAGED)
    return _each_site(candidate, rule, rows, fault, f"{words} at the chosen threshold{by}")


def _calibration(candidate: Candidate, rule: Calibration) -> RuleVerdict:
    where = {"task": rule.task, "calibrator": rule.calibrator}
    rows = candidate.rows("calibration", rule, metric="ece", **where)
    slopes = candidate.rows("calibration", rule, metric="slope", **where) or {}

    def fault(row: Row) -> str | None:
        excess = present(row["excess"])
        if excess is None:
            return f"has no calibration error ({reason(str(row['reason']))})"
        if excess > rule.excess_at_most:
            return f"is off by {number(excess)} beyond noise"
        if rule.slope_at_least is None:
            return None
        slope = slopes.get(str(row["site"]), {})
        value = present(slope.get("value"))
        if value is None:
            return f"has no calibration slope ({reason(str(slope.get('reason', 'no_samples')))})"
        return None if value >= rule.slope_at_least else f"has slope {number(value)}"

    words = f"calibration error at most {number(rule.excess_at_most)} beyond noise"
    if rule.slope_at_least is not None:
        words += f" and slope at least {number(rule.slope_at_least)}"
    return _each_site(candidate, rule, rows, fault, f"{words} ({rule.task})")


def _threshold_transfer(candidate: Candidate, rule: ThresholdTransfer) -> RuleVerdict:
    rows = candidate.rows(
        "operating_points", rule, metric="transfer_gap", task=rule.task, rule=PACKAGED
    )

    def fault(row: Row) -> str | None:
        high = present(row["high"])
        if high is None:
            return f"has no transfer gap ({reason(str(row['reason']))})"
        if high <= rule.gap_at_most:
            return None
        bounds = interval(present(row["low"]), high)
        return f"misses {number(present(row['value']))} more than promised ({bounds})"

    words = (
        f"sensitivity for {rule.task} at most {number(rule.gap_at_most)} under what was promised"
    )
    return _each_site(candidate, rule, rows, fault, words)


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

    def fault(row: Row) -> str | None:
        loss = present(row["high"] if name.higher is False else row["low"])
        if loss is None:
            return f"cannot be compared ({reason(str(row['reason']))})"
        if (-loss if name.higher is False else loss) >= -rule.margin:
            return None
        bounds = interval(present(row["low"]), present(row["high"]))
        return f"may lose more: {change(present(row['difference']))} ({bounds})"

    words = f"{name.label} not lower than version {candidate.champion} by more than {number(rule.margin, 3)}"
    if name.higher is False:
        words = words.replace("lower", "higher")
    return _each_site(
        candidate, rule, candidate.rows("differences", rule, metric=rule.metric), fault, words
    )


def _each_site(
    candidate: Candidate,
    rule: Any,
    rows: dict[str, Row] | None,
    fault: Callable[[Row], str | None],
    words: str,
) -> RuleVerdict:
    if rows is None:
        said = f"{words}: not measured, the evaluation has no such table"
        return RuleVerdict(rule=rule.rule, passed=False, sentence=said)
    sites = candidate.sites(rule)
    if not sites:
        said = f"{words}: no site of the chosen roles is left to judge"
        return RuleVerdict(rule=rule.rule, passed=False, sentence=said)
    faults = list(_faults(sites, rows, fault))
    return _verdict(rule, faults, f"{words} at every one of {len(sites)} sites", words)


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
    WorstSite: _worst_site,
    Calibration: _calibration,
    ThresholdTransfer: _threshold_transfer,
    NonInferiority: _non_inferiority,
}
