"""Whose images these are: by site and split, and what was left out on the way."""

import pandas as pd

from offsite.evaluation.report.content import Cell, Group, Section, Table, listing
from offsite.evaluation.tables.reading import Evaluated
from offsite.evaluation.wording import ROLES, percent, present


def section(evaluated: Evaluated) -> Section | None:
    """The cohort by site, its flow with exclusions, and quality rates, as far as they are known."""
    cohort = evaluated.table("cohort")
    if cohort is None:
        return None
    tables = [_by_site(cohort)]
    notes = []
    flow, quality = evaluated.table("cohort_flow"), evaluated.table("quality")
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
    rows = []
    for row in cohort.to_dict("records"):
        role = ROLES.get(str(row["site_role"]), str(row["site_role"]))
        counts = [Cell(text=f"{int(row[name]):,}") for name in labels]
        unlabelled = int(row["n"]) - int(row["n_labelled"])
        rows.append(
            (
                Cell(text=str(row["site"]), note=role),
                Cell(text=str(row["split"])),
                Cell(text=f"{int(row['n']):,}", note=f"{int(row['n_patients']):,}"),
                *counts,
                Cell(text=f"{unlabelled:,}"),
            )
        )
    return listing(
        "Images by site, split and label",
        ("Site", "Split"),
        (("Images", "patients"), *(name.removeprefix("label_") for name in labels), "No label"),
        rows,
        source="cohort",
    )


def _flow(flow: pd.DataFrame) -> Table:
    groups = []
    for stage, part in flow.groupby("stage", sort=False):
        rows = tuple(
            (
                Cell(text=str(row["site"])),
                Cell(text=str(row["outcome"]), note=str(row.get("reason", ""))),
                Cell(text=f"{int(row['n']):,}"),
            )
            for row in part.to_dict("records")
        )
        groups.append(Group(heading=str(stage), rows=rows))
    return listing("What became of every case", ("Site", "Outcome"), ("Cases",), (), groups=groups)


def _quality(quality: pd.DataFrame) -> Table:
    rows = tuple(
        (
            Cell(text=str(row["site"])),
            Cell(text=str(row["measure"]).replace("_", " ")),
            Cell(text=percent(present(row["rate"]))),
            Cell(text=f"{int(row['n']):,}"),
        )
        for row in quality.to_dict("records")
    )
    return listing(
        "Image quality by site", ("Site", "Finding"), ("Share of images", "Images"), rows
    )
