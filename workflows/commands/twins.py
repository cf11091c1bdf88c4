"""``offsite twins``: whether features and answers follow the tissue or the hospital."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands.options import Config, Overrides, Workers, cores

if TYPE_CHECKING:
    import pandas as pd


def twins(
    config: Config,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Cohort table with a column twin; default: synthetic twins."),
    ] = None,
    tissues: Annotated[int, typer.Option(min=2, help="Synthetic tissues.")] = 15,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WEIGHTS]",
            help="Encoder to compare with; repeatable; default: the colour control.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a finished run, to compare its answers too.")
    ] = None,
    places: Annotated[int, typer.Option(min=1, help="Most tiles of a tissue.")] = 64,
    workers: Workers = 0,
    overrides: Overrides = None,
) -> None:
    """Show the same tissue as several sites would, and compare features and answers.

    Prints a table of encoders side by side and the path of twins.csv, which has every pair of sites.
    """
    import pandas as pd

    from offsite.workflows.jobs.job import Job
    from offsite.workflows.twins.stage import compare_twins

    job = Job.load(config, overrides or ())
    path = compare_twins(
        job,
        cohort,
        tissues=tissues,
        encoders=encoder or (),
        run=run,
        places=places,
        workers=cores(workers),
    )
    _show(pd.read_csv(path))
    typer.echo(path)


def _show(table: "pd.DataFrame") -> None:
    from rich.table import Table

    from offsite.workflows.console.messages import data
    from offsite.workflows.twins.measures import POOLED

    pooled = table[table["site"] == POOLED]
    shown = Table(title="Twins: the same tissue, shown by another site", title_justify="left")
    encoders = list(dict.fromkeys(pooled["encoder"]))
    for column in ("measure", *encoders, "chance"):
        shown.add_column(column, justify="left" if column == "measure" else "right")
    for measure, rows in pooled.groupby("measure", sort=False):
        by_encoder = rows.set_index("encoder")
        cells = [
            _cell(by_encoder.loc[name]) if name in by_encoder.index else "" for name in encoders
        ]
        chance = rows["chance"].dropna()
        shown.add_row(
            str(measure).replace("_", " "), *cells, f"{chance.iloc[0]:.3f}" if len(chance) else ""
        )
    data.print(shown)


def _cell(row: "pd.Series") -> str:
    import pandas as pd

    if pd.isna(row["value"]):
        return str(row["reason"]).replace("_", " ")
    if not pd.isna(row["p_value"]):
        return f"{row['value']:.3f} (p {row['p_value']:.3f})"
    if pd.isna(row["low"]):
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
