"""Groups of patients at each site, and where one fares worse than the rest."""

import pandas as pd

from offsite.evaluation.metrics.names import described
from offsite.evaluation.report.content import Cell, Column, Point, Section, Table, group, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import GROUPS, NAMES, counts_cell, numbers, value_cell
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.wording import estimate, listed


def section(findings: Findings, table: pd.DataFrame) -> Section:
    """A table for each column that was asked for."""
    return Section(
        anchor="subgroups",
        title="Groups of patients",
        lead=(
            "Each group by itself, at the threshold that ships. A group is marked where it fares worse "
            "than the rest of its site, beyond chance over all groups and sites together (Holm 1979).",
        ),
        tables=tuple(
            _table(findings, str(by), rows) for by, rows in table.groupby("by", sort=False)
        ),
        notes=("Groups of fewer than 30 patients are counted, and not measured.",),
    )


def points(findings: Findings) -> list[Point]:
    """The groups that fare worse than the rest of their site."""
    table = findings.evaluated.table("subgroups")
    if table is None:
        return []
    raised = table[table["raised"].eq(True)]
    found = []
    for metric, rows in raised.groupby("metric", sort=False):
        told = listed([_told(row) for row in records(rows)])
        sentence = (
            f"{described(str(metric)).label} is worse than in the rest of the site for {told}."
        )
        sentence = sentence[0].upper() + sentence[1:]
        found.append(Point(subject="Groups of patients", sentence=sentence, caution=True))
    return found


def _told(row: Record) -> str:
    where = "over all its sites" if row["site"] == "_pooled" else f"at {row['site']}"
    role = f" ({GROUPS.get(row['site_role'], 'sites').lower()})" if row["site"] == "_pooled" else ""
    return f"{row['by']} {row['group']} {where}{role} ({estimate(*numbers(row))})"


def _table(findings: Findings, by: str, rows: pd.DataFrame) -> Table:
    metrics = list(dict.fromkeys(rows["metric"].astype(str)))
    found = {
        (row["site"], row["site_role"], row["group"], row["metric"]): row for row in records(rows)
    }
    places = [(site, role) for role in findings.roles for site in findings.sites(role)]
    places += [("_pooled", role) for role in findings.roles]
    groups = []
    for site, role in places:
        here = [
            str(name)
            for name in dict.fromkeys(
                rows.loc[(rows["site"] == site) & (rows["site_role"] == role), "group"]
            )
        ]
        if here:
            lines: list[list[str | Cell]] = [
                [name, *_line([found[site, role, name, metric] for metric in metrics])]
                for name in here
            ]
            heading = f"{NAMES.get(site, site)} · {GROUPS.get(role, 'site').lower()}"
            groups.append(group(heading, lines))
    heads = [Column("Images", note="patients")]
    heads += [Column(described(metric).short) for metric in metrics]
    return listing(f"By {by}", (by,), heads, groups=groups, source="subgroups")


def _line(rows: list[Record]) -> list[Cell]:
    size = max(rows, key=lambda row: int(row["n"]))
    return [counts_cell(size), *(value_cell(row, caution=row["raised"] is True) for row in rows)]
