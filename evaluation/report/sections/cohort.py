"""Whose images these are: by site and split, and what was left out on the way."""

import pandas as pd

from offsite.evaluation.report.content import Cell, Column, Group, Section, Table, cells, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import ROLES, percent, present


def section(findings: Findings) -> Section | None:
    """The cohort by site, its flow with exclusions, and quality rates, as far as they are known."""
    cohort = findings.evaluated.table("cohort")
    if cohort is None:
        return None
    tables = [_by_site(cohort)]
    notes = []
    flow, quality = findings.evaluated.table("cohort_flow"), findings.evaluated.table("quality")
    if flow is not None:
        tables.append(_flow(flow))
    else:
        notes.append(
            "How many cases were excluded before the predictions were made, and why, is not "
            "recorded here: the page was made from a predictions table alone."
        )
    if quality is not None:
        tables.append(_quality(quality))
    return Section(anchor="cohort", title="The cohort", tables=tuple(tables), notes=tuple(notes))


def _by_site(cohort: pd.DataFrame) -> Table:
    labels = [name for name in cohort.columns if name.startswith("label_")]
    return listing(
        "Images by site, split and label",
        ("Site", "Split"),
        (
            Column("Images", note="patients"),
            *(name.removeprefix("label_") for name in labels),
            "No label",
        ),
        (
            (
                Cell(str(row["site"]), note=ROLES.get(row["site_role"], row["site_role"])),
                str(row["split"]),
                Cell(f"{int(row['n']):,}", note=f"{int(row['n_patients']):,}"),
                *(f"{int(row[name]):,}" for name in labels),
                f"{int(row['n']) - int(row['n_labelled']):,}",
            )
            for row in records(cohort)
        ),
        source="cohort",
    )


def _flow(flow: pd.DataFrame) -> Table:
    groups = []
    for stage, part in flow.groupby("stage", sort=False):
        rows = (
            (
                str(row["site"]),
                Cell(str(row["outcome"]), note=str(row.get("reason", ""))),
                f"{int(row['n']):,}",
            )
            for row in records(part)
        )
        groups.append(Group(heading=str(stage), rows=cells(rows)))
    return listing("What became of every case", ("Site", "Outcome"), ("Cases",), groups=groups)


def _quality(quality: pd.DataFrame) -> Table:
    rows = (
        (
            str(row["site"]),
            str(row["measure"]).replace("_", " "),
            percent(present(row["rate"])),
            f"{int(row['n']):,}",
        )
        for row in records(quality)
    )
    words = ("Site", "Finding")
    return listing("Image quality by site", words, ("Share of images", "Images"), rows)
