"""Whether a second model would catch what the first misses."""

from dataclasses import replace

import pandas as pd

from offsite.evaluation.operating_points.complementary import TOP
from offsite.evaluation.report.content import Cell, Section, Table, listing
from offsite.evaluation.report.findings import estimate_of
from offsite.evaluation.report.grids import Record, by_role, value_cell
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import counted, level

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
    order = list(dict.fromkeys((site, role) for site, role, _ in rows))
    groups = by_role(
        sorted(order, key=lambda place: _ROLES.index(place[1])),
        lambda site, role: [_cell(rows[site, role, metric]) for metric in metrics],
    )
    heads = (f"{first} misses, {second} catches", f"{second} misses, {first} catches")
    named = "the most probable class" if task == TOP else task
    either = ("Sensitivity, if either calls", "Specificity, if either calls")
    shown = [*heads, *either][: len(metrics)]
    return listing(f"By site: {named}", ("Site",), shown, groups=groups)


def _cell(row: Record) -> Cell:
    n, cell = int(row["n"]), value_cell(estimate_of(row))
    if cell.kind == "undefined":
        caught = n == 0 and str(row["metric"]).startswith("caught")
        return replace(cell, text="none missed") if caught else cell
    return replace(cell, note=f"{cell.note}, of {counted(n, 'image')}")
