"""``offsite tile``, ``embed``, ``prepare``, ``train``: the stages of a job, each resumable."""

from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands.options import (
    Config,
    Join,
    Overrides,
    Part,
    Workers,
    cores,
    parse_part,
)

if TYPE_CHECKING:
    import pandas as pd

UNUSABLE, SOME_FAILED = 2, 3
# Not the image is at fault but what a stage made of it: that stage must run again.
BROKEN = ("damaged_tiles", "not_tiled")


def tile(
    config: Config,
    workers: Workers = 0,
    part: Part = "1/1",
    join: Join = 0,
    geojson: Annotated[
        bool, typer.Option("--geojson", help="Also write tissue and tiles for QuPath.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Find the tissue of each slide and lay tiles of a physical size over it."""
    _images("tile", config, workers, part, join, overrides, geojson=geojson)


def embed(
    config: Config,
    workers: Workers = 0,
    part: Part = "1/1",
    join: Join = 0,
    overrides: Overrides = None,
) -> None:
    """Encode the tiles of each slide as features."""
    _images("embed", config, workers, part, join, overrides)


def prepare(
    config: Config,
    workers: Workers = 0,
    part: Part = "1/1",
    join: Join = 0,
    overrides: Overrides = None,
) -> None:
    """Find the field of view of each photograph, crop it, and judge its quality."""
    _images("prepare", config, workers, part, join, overrides)


def _images(
    name: str,
    config: Config,
    workers: int,
    part: str,
    join: int,
    overrides: list[str] | None,
    *,
    geojson: bool = False,
) -> None:
    from offsite.workflows.jobs.job import Job
    from offsite.workflows.stages import images as image_stages

    job = Job.load(config, overrides or ())
    if join:
        table = image_stages.join(job, name, join)
    else:
        table = image_stages.run(job, name, cores(workers), parse_part(part))
    if geojson:
        image_stages.export_geojson(job, table)
    if not join:
        _end(table)


def train(
    config: Config,
    method: Annotated[str | None, typer.Option(help="Method; default: the first of cells.")] = None,
    held_out: Annotated[
        list[str] | None, typer.Option(help="Site to hold out; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed; default: the first.")] = None,
    all_cells: Annotated[
        bool, typer.Option("--all", help="Every method x held-out site x seed of the job.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Train a run, or go on with a killed one; prints the run's folder."""
    from offsite.workflows.jobs.job import Job
    from offsite.workflows.stages.training import train as train_cell

    job = Job.load(config, overrides or ())
    cells = job.cells() if all_cells else [job.cell(method, held_out, seed)]
    for cell in cells:
        typer.echo(train_cell(job, cell))


def _end(table: "pd.DataFrame") -> None:
    """Say what failed, a line for each kind of reason, and leave with exit code 3 if any did.

    Where the stage before left nothing whole for an image, the code is 2: nothing may go on.
    """
    from offsite.workflows.console.messages import say

    failed = table[table["status"] == "failed"]
    for (code, message), rows in failed.groupby(["code", "message"]):
        named = ", ".join(rows["slide"].astype(str).head(5))
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        say(f"[red]{code}[/red]: {message} ({named}{more})")
    if len(failed):
        raise typer.Exit(UNUSABLE if failed["code"].isin(BROKEN).any() else SOME_FAILED)
