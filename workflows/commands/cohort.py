"""``offsite cohort``: whether the table is fit to train on."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at a cohort table before anything is computed.", no_args_is_help=True)


@app.command()
def check(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: image, patient, site, label ...")],
    classes: Annotated[
        str, typer.Option(help="Class names in order, separated by commas; default: those found.")
    ] = "",
) -> None:
    """Validate a cohort table and show who has what; every fault is named with its remedy."""
    from rich.table import Table

    from preprocessing.cohort import load_cohort
    from workflows.console import data

    names = [name.strip() for name in classes.split(",") if name.strip()] or None
    cohort = load_cohort(table, names)
    shown = Table(title=f"{table.name}: {len(cohort.table)} images", title_justify="left")
    for column in ("site", "images", "patients", *cohort.classes, "unlabelled"):
        shown.add_column(column, justify="left" if column == "site" else "right")
    for site, rows in cohort.table.groupby("site"):
        counts = rows["label"].value_counts()
        cells = [len(rows), rows["patient"].nunique()]
        cells += [int(counts.get(name, 0)) for name in (*cohort.classes, "")]
        shown.add_row(str(site), *map(str, cells))
    data.print(shown)
