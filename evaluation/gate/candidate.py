"""What the gate judges: tables of an evaluation, and which rows of them a rule is about."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from offsite.evaluation.gate.rules import (
    Calibration,
    Limit,
    NonInferiority,
    Rule,
    ThresholdTransfer,
)
from offsite.evaluation.metrics.thresholds import AT_THRESHOLD
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.statistics.site import POOLED
from offsite.evaluation.tables.reading import Record, records


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows that a rule reads.

    Attributes
    ----------
    table : str
        Name of the table.
    metric : str
        As it stands in that table.
    wanted : mapping of str to str
        What else a row has, by column.
    """

    table: str
    metric: str
    wanted: Mapping[str, str]


def source_of(rule: Rule) -> Source | None:
    """The rows that a rule reads; ``None`` of a rule that counts patients."""
    match rule:
        case Limit():
            task, _, name = rule.metric.rpartition("/")
            if not task or name not in AT_THRESHOLD:
                return Source(table="per_site", metric=rule.metric, wanted={})
            # The per-site table has it at the stated threshold, by which no package decides.
            carried = {"task": task, "rule": PACKAGED}
            return Source(table="operating_points", metric=name, wanted=carried)
        case Calibration():
            where = {"task": rule.task, "calibrator": rule.calibrator}
            return Source(table="calibration", metric="ece", wanted=where)
        case ThresholdTransfer():
            carried = {"task": rule.task, "rule": PACKAGED}
            return Source(table="operating_points", metric="transfer_gap", wanted=carried)
        case NonInferiority():
            return Source(table="differences", metric=rule.metric, wanted={})
        case _:
            return None


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

    def rows(self, name: str, about: Rule, /, **wanted: str) -> dict[str, Record] | None:
        """The rows of single sites by site, or ``None`` where the table is missing."""
        if name not in self.tables:
            return None
        return {
            row["site"]: row
            for row in self._fitting(name, wanted)
            if self._judged(about, row["site"], row.get("site_role", ""))
        }

    def pooled(self, name: str, about: Rule, /, **wanted: str) -> Record | None:
        """The row of all sites of the rule's roles together, or ``None`` where there is none."""
        rows = self._fitting(name, wanted) if name in self.tables else ()
        whole = (row for row in rows if row["site"] == POOLED)
        return next((row for row in whole if row.get("site_role") == about.sites), None)

    def pooled_though_left_out(self, rule: Rule) -> list[str]:
        """Sites that are left out, and whose rows are among those of all sites together."""
        return [
            site
            for site, role in self._places
            if site in self.left_out and rule.sites in ("all", role)
        ]

    def sites(self, rule: Rule) -> list[str]:
        """The sites that a rule is about: those of the per-site table."""
        return [site for site, role in self._places if self._judged(rule, site, role)]

    def _fitting(self, name: str, wanted: Mapping[str, str]) -> Iterator[Record]:
        for row in self._records[name]:
            if all(str(row.get(key)) == value for key, value in wanted.items()):
                yield row

    @cached_property
    def _records(self) -> Mapping[str, list[Record]]:
        return {name: records(table) for name, table in self.tables.items()}

    @cached_property
    def _places(self) -> list[tuple[str, str]]:
        """(site, role) of every row of the per-site table, each once."""
        rows = self._records["per_site"]
        return list(dict.fromkeys((row["site"], row["site_role"]) for row in rows))

    def _judged(self, rule: Rule, site: str, role: str) -> bool:
        return (
            not site.startswith("_") and site not in self.left_out and rule.sites in ("all", role)
        )
