"""Whether a second model would catch what the first misses."""

import pandas as pd

from offsite.evaluation.operating_points.complementary import TOP
from offsite.evaluation.report.content import Cell, Group, Section, Table, cells, listing
from offsite.evaluation.report.grids import GROUPS, NAMES, Record, numbers, without_lone_pools
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import NO_INTERVAL, counted, interval, level, number, reason

_ROLES = ("held_out", "training", "all")


def section(
    table: pd.DataFrame, first: str, second: str, confidence: float, anchor: str
) -> Section:
    """A table for each task and one for the most probable class, of two named models."""
    tasks = [str(task) for task in dict.fromkeys(table["task"])]
    return Section(
        anchor=anchor,
        title=f"What {second} would catch of what {first} misses",
        lead=(
            "Two models are worth more than one where they miss different patients. Each stands at the "
            "threshold that a package of it would ship, or at the stated one where there are no "
            f"validation rows; under each share stands its {level(confidence)} interval over patients.",
        ),
        tables=tuple(_table(table, task, first, second) for task in tasks),
        notes=(
            "If either calls: what a reading by both would find, and whom it would spare. More is found "
            "than by one alone, and more of the healthy are referred.",
        ),
    )


def _table(table: pd.DataFrame, task: str, first: str, second: str) -> Table:
    rows = {
        (str(row["site"]), str(row["site_role"]), str(row["metric"])): row
        for row in records(table[table["task"] == task])
    }
    metrics = list(dict.fromkeys(metric for *_, metric in rows))
    places = without_lone_pools(list(dict.fromkeys((site, role) for site, role, _ in rows)))
    groups = [
        Group(
            heading=GROUPS.get(role, "All sites"),
            rows=cells(
                [NAMES.get(site, site), *(_cell(rows[site, role, metric]) for metric in metrics)]
                for site, of in places
                if of == role
            ),
        )
        for role in _ROLES
    ]
    heads = (f"{first} misses, {second} catches", f"{second} misses, {first} catches")
    named = "the most probable class" if task == TOP else task
    either = ("Sensitivity, if either calls", "Specificity, if either calls")
    shown = [*heads, *either][: len(metrics)]
    return listing(f"By site: {named}", ("Site",), shown, (), groups=groups)


def _cell(row: Record) -> Cell:
    value, low, high = numbers(row)
    n = int(row["n"])
    if value is None:
        nothing = "none missed" if n == 0 and str(row["metric"]).startswith("caught") else ""
        return Cell(text=nothing or reason(str(row["reason"])), kind="undefined")
    note = interval(low, high) or NO_INTERVAL
    return Cell(text=number(value), note=f"{note}, of {counted(n, 'image')}")
