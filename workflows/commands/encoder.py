"""``offsite encoder``: which tile encoders there are, and what one is good for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands import completion
from offsite.workflows.commands.options import (
    Config,
    Overrides,
    SetDevice,
    Workers,
    cores,
    job_of,
)

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="list, check, twins, vocabulary: what turns tiles into features, and what it is good for.",
    no_args_is_help=True,
)
FAILS = 1


@app.command("list")
def list_all() -> None:
    """List the tile encoders, and what each of them lacks on this machine.

    Takes nothing; gives a table on the screen. The names are values of the setting encoder.name.

    Example: offsite encoder list
    """
    from rich.table import Table

    from offsite.workflows.console.messages import data
    from offsite.workflows.jobs.modalities import encoder_benches

    shown = Table(box=None, pad_edge=False)
    shown.add_column("encoder", no_wrap=True)
    shown.add_column("numbers", justify="right")
    shown.add_column("lacks")
    for entry in (entry for bench in encoder_benches() for entry in bench.entries()):
        length = "" if entry.dimensions is None else str(entry.dimensions)
        shown.add_row(entry.name, length, entry.needs.replace("[", r"\[") or "nothing")
    data.print(shown)


@app.command()
def check(
    encoder: Annotated[
        str,
        typer.Argument(
            metavar="JOB|NAME[=WEIGHTS]",
            help="A job, or an encoder and its weights.",
            autocompletion=completion.encoders,
        ),
    ],
    device: SetDevice = None,
    overrides: Overrides = None,
) -> None:
    """Load an encoder and try on made-up tiles what everything else relies on.

    Takes a job or an encoder; gives a line for each property and the digest of code and weights.
    Exit code 1: one does not hold.

    Example: offsite encoder check resnet18=weights.safetensors --device cuda
    """
    from rich.markup import escape

    from offsite.workflows.console.messages import data
    from offsite.workflows.jobs.modalities import encoder_benches, encoder_of

    if encoder.endswith((".yaml", ".yml")):
        job = job_of(Path(encoder), overrides)
        bench, settings = encoder_of(job.modality, job.configuration, job.file)
    elif overrides:
        raise typer.BadParameter("--set changes a job: name one")
    else:
        benches = list(encoder_benches())
        name = encoder.partition("=")[0]
        bench = next((one for one in benches if name in one.names), benches[0])
        settings = bench.named(encoder, None)
    if device:
        settings = settings.model_copy(update={"device": device})
    loaded = bench.load(settings)
    properties = bench.properties(loaded)
    for one in properties:
        mark = "[green]holds[/green]" if one.holds else "[red]fails[/red]"
        data.print(f"{mark}  {escape(f'{one.name}: {one.sentence}')}", soft_wrap=True)
    data.print(f"{loaded.name} for {loaded.tile_px} px at {loaded.mpp:g} um per px")
    typer.echo(loaded.digest)
    if not all(one.holds for one in properties):
        raise typer.Exit(FAILS)


@app.command()
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
            autocompletion=completion.encoders,
            help="Encoder to compare with; repeatable; default: the colour control.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a finished run, to compare its answers too.")
    ] = None,
    most: Annotated[int, typer.Option("--places", min=1, help="Most tiles of a tissue.")] = 64,
    workers: Workers = 0,
    device: SetDevice = None,
    overrides: Overrides = None,
) -> None:
    """Show the same tissue as several sites would, and compare features and answers.

    Takes a job of slides; gives a table of encoders side by side, and twins.csv with every pair of
    sites, whose path it prints.

    Example: offsite encoder twins job.yaml --encoder resnet18=weights.safetensors
    """
    import pandas as pd

    from offsite.locks import writing
    from offsite.workflows.twins.stage import FOLDER, compare_twins

    job = job_of(config, overrides)
    with writing(job.output, FOLDER):
        path = compare_twins(
            job,
            cohort,
            device=device,
            tissues=tissues,
            encoders=encoder or (),
            run=run,
            places=most,
            workers=cores(workers),
        )
    _show(pd.read_csv(path))
    typer.echo(path)


@app.command()
def vocabulary(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of slides.")],
    words: Annotated[int, typer.Option(min=1, max=256, help="Most words.")] = 32,
    names: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Only name the words that were found before: a CSV with the columns word, name.",
        ),
    ] = None,
    workers: Workers = 0,
) -> None:
    """Find the kinds of tissue that a run's slides show, and which of them its answers rest on.

    Takes a finished run of slides whose slides and tiles are still there; gives a sheet of example
    tiles for each word and a table with the share of each word in every slide, and prints its path.
    A package made of the run after that tells new slides in these words, by number and by the names
    that you give them; it holds no picture. Refused where words keep less than half of the log-odds of slides that were not trained on.

    Example: offsite encoder vocabulary results/runs/sc_mil/without-east/seed-0
    """
    from offsite.workflows.console.messages import say
    from offsite.workflows.stages.vocabulary import name_words, write_vocabulary

    if names is not None:
        typer.echo(name_words(run, names))
        return
    path, found = write_vocabulary(run, words, workers=cores(workers))
    say(
        f"{len(found.arrays['places'])} words keep {found.kept:.0%} of the log-odds of"
        f" {found.judged} slides that were not trained on"
    )
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
