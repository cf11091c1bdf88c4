"""Whether a method's seeds call an image alike, on the page that compares methods."""

import pandas as pd

from offsite.evaluation.report.content import Column, Group, Section, cells, listing
from offsite.evaluation.report.findings import estimate_of
from offsite.evaluation.report.grids import GROUPS, NAMES, value_cell
from offsite.evaluation.tables.reading import records
from offsite.evaluation.tables.seeds import FLIPS, WRONG_AGREED, WRONG_FLIPPED
from offsite.evaluation.wording import percent

_HEADINGS = {
    FLIPS: ("Seeds differ", "share of images"),
    WRONG_AGREED: ("Wrong where they agree", "of these"),
    WRONG_FLIPPED: ("Wrong where they differ", "of these"),
}


def seeds_sections(table: pd.DataFrame) -> tuple[Section, ...]:
    """The section, or none where every method has one seed."""
    if table.empty:
        return ()
    several = table["division"].nunique() > 1
    tables = []
    for division, rows in table.groupby("division", sort=False):
        cell = {
            (row["method"], row["site"], row["site_role"], row["metric"]): value_cell(
                estimate_of(row), format=percent
            )
            for row in records(rows)
        }
        groups = [
            Group(
                heading=GROUPS.get(str(role), "All sites"),
                rows=cells(
                    [
                        NAMES.get(site, site),
                        method,
                        *(cell[method, site, role, of] for of in _HEADINGS),
                    ]
                    for method, site in dict.fromkeys(
                        zip(part["method"], part["site"], strict=True)
                    )
                ),
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
