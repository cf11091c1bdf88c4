"""Whose images these are: by site and split, and what was left out on the way."""

import pandas as pd

from offsite.evaluation.report.content import Cell, Column, Section, Table, group, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import ROLES, percent


def section(findings: Findings, cohort: pd.DataFrame) -> Section:
    """The cohort by site, its flow with exclusions, and quality rates, as far as they are known."""
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
        rates = (
            (row["site"], row["measure"].replace("_", " "), percent(row["rate"]), f"{row['n']:,}")
            for row in records(quality)
        )
        words, numbers = ("Site", "Finding"), ("Share of images", "Images")
        tables.append(listing("Image quality by site", words, numbers, rates))
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
                Cell(row["site"], note=str(ROLES.get(row["site_role"], row["site_role"]))),
                row["split"],
                Cell(f"{row['n']:,}", note=f"{row['n_patients']:,}"),
                *(f"{int(row[name]):,}" for name in labels),
                f"{row['n'] - row['n_labelled']:,}",
            )
            for row in records(cohort)
        ),
        source="cohort",
    )


def _flow(flow: pd.DataFrame) -> Table:
    groups = []
    for stage, part in flow.groupby("stage", sort=False):
        rows = (
            (row["site"], Cell(row["outcome"], note=row.get("reason") or ""), f"{row['n']:,}")
            for row in records(part)
        )
        groups.append(group(str(stage), rows))
    return listing("What became of every case", ("Site", "Outcome"), ("Cases",), groups=groups)
