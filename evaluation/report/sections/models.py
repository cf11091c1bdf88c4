"""What a page of several models adds: whether one catches what another misses, and whether seeds agree."""

from dataclasses import replace

import pandas as pd

from offsite.evaluation.operating_points.complementary import TOP
from offsite.evaluation.report.content import Cell, Column, Section, Table, group, listing
from offsite.evaluation.report.grids import GROUPS, NAMES, by_role, value_cell
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.tables.seeds import FLIPS, WRONG_AGREED, WRONG_FLIPPED
from offsite.evaluation.wording import counted, level, percent

_ROLES = ("held_out", "training", "all")
_HEADINGS = {
    FLIPS: ("Seeds differ", "share of images"),
    WRONG_AGREED: ("Wrong where they agree", "of these"),
    WRONG_FLIPPED: ("Wrong where they differ", "of these"),
}


def complementary_section(
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
        (row["site"], row["site_role"], row["metric"]): row
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
    n, cell = row["n"], value_cell(row)
    if cell.kind == "undefined":
        caught = n == 0 and row["metric"].startswith("caught")
        return replace(cell, text="none missed") if caught else cell
    return replace(cell, note=f"{cell.note}, of {counted(n, 'image')}")


def seeds_sections(table: pd.DataFrame) -> tuple[Section, ...]:
    """The section, or none where every method has one seed."""
    if table.empty:
        return ()
    several = table["division"].nunique() > 1
    tables = []
    for division, rows in table.groupby("division", sort=False):
        cell = {
            (row["method"], row["site"], row["site_role"], row["metric"]): value_cell(
                row, format=percent
            )
            for row in records(rows)
        }
        groups = [
            group(
                GROUPS.get(str(role), "All sites"),
                [
                    [NAMES.get(site, site), method]
                    + [cell[method, site, role, of] for of in _HEADINGS]
                    for method, site in dict.fromkeys(
                        zip(part["method"], part["site"], strict=True)
                    )
                ],
            )
            for role, part in rows.groupby("site_role")
        ]
        caption = "Images that two seeds of a method call differently"
        tables.append(
            listing(
                f"{caption}: {division}" if several else caption,
                ("Site", "Method"),
                [Column(heading, note=note) for heading, note in _HEADINGS.values()],
                groups=groups,
            )
        )
    return (
        Section(
            anchor="seeds",
            title="Whether seeds agree",
            lead=(
                "The same method, trained on the same images from another seed, may call an image "
                "differently. Such an image deserves a reader more than the others do. Each image "
                "stands in seeds.csv, with the least and the most that a seed says of each class.",
            ),
            tables=tuple(tables),
        ),
    )
