"""Long tables turned into what a page shows: a row per site, grouped by role, the worst first."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from offsite.evaluation.figures.dots import Dot
from offsite.evaluation.metrics.names import base_name, described
from offsite.evaluation.report.content import Cell, Column, Group, Table, group
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.wording import interval, no_interval, number, reason

GROUPS = {"held_out": "Held-out sites", "training": "Training sites"}
NAMES = {
    "_pooled": "All rows pooled",
    "_worst": "Worst site",
    "_gap": "Best minus worst site",
    "_chosen": "Validation rows, where it was chosen",
}
OF_FOLDS = NAMES | {"_chosen": "All folds, where the one that ships was chosen"}
"""What the same rows are called where folds of a cross-validation answered."""
Format = Callable[[float | None], str]


@dataclass(frozen=True, kw_only=True)
class GridColumn:
    """A column of a grid: the rows of the long table that it takes, and how they are written.

    Attributes
    ----------
    column : Column
        Its heading.
    rows : pandas.DataFrame
        With ``site`` and ``site_role`` once for each site.
    value : str
        Column of the rows that is shown.
    format : function
        How.
    bounds : bool
        Whether the interval stands under the value.
    noise : str
        Column of what noise alone could give, in the interval's place.
    alarm, task : str
        What marks a value with a caution where it was raised; empty: nothing does.
    cell : function, optional
        Writes the whole cell of a row that has a value, told whether its alarm was raised.
    """

    column: Column
    rows: pd.DataFrame
    value: str = "value"
    format: Format = number
    bounds: bool = True
    noise: str = ""
    alarm: str = ""
    task: str = ""
    cell: Callable[[Record, bool], Cell] | None = None


def metric_columns(
    rows: pd.DataFrame,
    metrics: Sequence[str],
    *,
    alarms: Mapping[str, str] | None = None,
    task: str = "",
) -> list[GridColumn]:
    """A column for each metric that has something to say at some site.

    Parameters
    ----------
    rows : pandas.DataFrame
        A long table with ``metric``, ``value`` and ``reason``.
    metrics : sequence of str
        Their names, in order.
    alarms : mapping of str to str, optional
        By metric the alarm that marks a value.
    task : str
        Whose alarms these are.
    """
    silent = rows["value"].isna() & (rows["reason"] == "no_samples")
    named = set(rows.loc[~silent, "metric"])
    return [
        GridColumn(
            column=Column(described(name).short, about=base_name(name)),
            rows=rows[rows["metric"] == name],
            noise="null_high" if name == "ece" else "",
            alarm=(alarms or {}).get(name, ""),
            task=task,
        )
        for name in metrics
        if name in named
    ]


def grid(
    findings: Findings,
    columns: Sequence[GridColumn],
    caption: str,
    *,
    source: str,
    folded: str = "",
) -> Table:
    """A table with a row for every site of the columns' rows.

    Parameters
    ----------
    findings : Findings
        Gives the order of sites.
    columns : sequence of GridColumn
        Each with rows that hold ``site`` and ``site_role`` once per site.
    caption, source, folded : str
        As in :class:`offsite.evaluation.report.content.Table`.
    """
    looked_up = [
        {(row["site"], row["site_role"]): row for row in records(column.rows)} for column in columns
    ]
    places = list(dict.fromkeys(key for by_site in looked_up for key in by_site))

    def line(site: str, role: str) -> list[Cell]:
        return [
            _cell(findings, column, by_site.get((site, role)))
            for column, by_site in zip(columns, looked_up, strict=True)
        ]

    heads = (Column("Site", numeric=False), *(column.column for column in columns))
    groups = by_role(_ordered(findings, places), line, OF_FOLDS if findings.folds else NAMES)
    return Table(caption=caption, columns=heads, groups=groups, folded=folded, source=source)


def by_role(
    places: Sequence[tuple[str, str]],
    line: Callable[[str, str], Sequence[str | Cell]],
    names: Mapping[str, str] = NAMES,
) -> tuple[Group, ...]:
    """A group of rows for each role of the places (site, role), in their order.

    ``line`` gives what stands behind a site's name, and ``names`` those of rows that are no site's. The
    pooled rows of a role with a single site are left out.
    """
    shown = without_lone_pools(list(places))
    return tuple(
        group(
            GROUPS.get(role, "All sites"),
            ([names.get(site, site), *line(site, role)] for site, of in shown if of == role),
        )
        for role in dict.fromkeys(role for _, role in shown)
    )


def value_cell(row: Record | None, *, format: Format = number, caution: bool = False) -> Cell:
    """A value with its interval, or why there is none; nothing of no row."""
    if row is None:
        return Cell("")
    value, low, high = numbers(row)
    if value is None:
        return Cell(reason(row["reason"]), kind="undefined")
    note = interval(low, high) or no_interval(row["reason"])
    return Cell(format(value), note=note, kind="caution" if caution else "")


def counts_cell(row: Record, kind: str = "") -> Cell:
    """Images, with their patients underneath."""
    patients = row["n_patients"]
    return Cell(f"{row['n']:,}", note="" if patients is None else f"{patients:,}", kind=kind)


def without_lone_pools(places: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out the pooled rows, worst site and gap of a role with one site: its own row says all."""
    single = Counter(role for site, role in set(places) if not site.startswith("_"))
    sites = sum(single.values())
    return [
        (site, role)
        for site, role in places
        if site not in ("_pooled", "_worst", "_gap")
        or (sites if role == "all" else single[role]) != 1
    ]


def sites_of(findings: Findings, rows: pd.DataFrame) -> list[Record]:
    """The rows of single sites, in the page's order: held-out ones first, the worst on top."""
    by_site = {
        (row["site"], row["site_role"]): row
        for row in records(rows)
        if not row["site"].startswith("_")
    }
    return [by_site[place] for place in _ordered(findings, list(by_site))]


def in_order(findings: Findings, rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows, sites in the page's order and pooled ones last."""
    order = {row["site"]: rank for rank, row in enumerate(sites_of(findings, rows))}
    rank = rows["site"].map(order).fillna(len(order))
    kept = set(without_lone_pools(list(zip(rows["site"], rows["site_role"], strict=True))))
    stays = [key in kept for key in zip(rows["site"], rows["site_role"], strict=True)]
    return rows.assign(_place=rank)[stays].sort_values(["_place", "site_role"], kind="stable")


def numbers(row: Record) -> tuple[float | None, float | None, float | None]:
    """Value and interval of a row."""
    return row["value"], row["low"], row["high"]


def dot_of(row: Record, note: Callable[[Record], str], *, kind: str = "") -> Dot:
    """A row as a line of a strip of dots, of the kind of its site; why it has none in its note."""
    value, low, high = numbers(row)
    said = note(row) if value is not None else reason(row["reason"])
    kind = kind or row["site_role"]
    return Dot(label=row["site"], note=said, value=value, low=low, high=high, kind=kind)


def _ordered(findings: Findings, places: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Places (site, role) in the page's order: the rows of a choice before the sites, pooled ones last."""
    roles = [*findings.roles, *(role for _, role in places)]
    order = {site: rank for rank, site in enumerate(findings.sites())}

    def rank(place: tuple[str, str]) -> tuple[int, int, int, str]:
        site, role = place
        single = not site.startswith("_")
        kind = 1 if single else 0 if site == "_chosen" else 2
        return roles.index(role), kind, order.get(site, len(order)), site if single else ""

    return sorted(places, key=rank)


def _cell(findings: Findings, column: GridColumn, row: Record | None) -> Cell:
    if row is None:
        return Cell("")
    value = row.get(column.value)
    if value is None:
        code = row.get("reason") or ""
        return Cell("" if code in ("", "ok") else reason(code), kind="undefined")
    raised = bool(column.alarm) and findings.raised(column.alarm, row, column.task)
    if column.cell is not None:
        return column.cell(row, raised)
    note = interval(row.get("low"), row.get("high")) if column.bounds else ""
    if column.noise:
        told = row.get(column.noise)
        note = "" if told is None else f"≤ {number(told)} by noise"
    return Cell(column.format(value), note=note, kind="caution" if raised else "")
