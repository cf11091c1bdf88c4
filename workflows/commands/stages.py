"""Tile, embed, prepare and train: the stages of a job, each resumable."""

from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands import completion
from offsite.workflows.commands.options import (
    Config,
    HeldOut,
    Join,
    Overrides,
    Part,
    SetDevice,
    Workers,
    cores,
    job_of,
    parse_part,
)

if TYPE_CHECKING:
    import pandas as pd

    from offsite.workflows.jobs.job import Job

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
    """Find the tissue of each slide and lay tiles of a physical size over it.

    Takes a job of slides; gives tiles.csv, a row for every slide, and a table of tiles for each.

    Example: offsite workflow tile job.yaml
    """
    _images("tile", job_of(config, overrides), workers, part, join, geojson=geojson)


def embed(
    config: Config,
    workers: Workers = 0,
    part: Part = "1/1",
    join: Join = 0,
    device: SetDevice = None,
    overrides: Overrides = None,
) -> None:
    """Encode the tiles of each slide as features.

    Takes a job whose slides are tiled; gives features.csv and a feature file for each slide.

    Example: offsite workflow embed job.yaml --device cuda
    """
    job = job_of(config, overrides, device=device, device_setting="encoder.device")
    _images("embed", job, workers, part, join)


def prepare(
    config: Config,
    workers: Workers = 0,
    part: Part = "1/1",
    join: Join = 0,
    overrides: Overrides = None,
) -> None:
    """Find the field of view of each photograph, crop it, and judge its quality.

    Takes a job of photographs; gives prepared.csv, a row for every photograph, and the crops.

    Example: offsite workflow prepare job.yaml
    """
    _images("prepare", job_of(config, overrides), workers, part, join)


def _images(
    name: str, job: "Job", workers: int, part: str, join: int, *, geojson: bool = False
) -> None:
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages import images as image_stages

    check_job(job)
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
    method: Annotated[
        str | None,
        typer.Option(
            help="Method; default: the first of cells.", autocompletion=completion.methods
        ),
    ] = None,
    held_out: HeldOut = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed; default: the first.")] = None,
    all_cells: Annotated[
        bool, typer.Option("--all", help="Every method x held-out site x seed of the job.")
    ] = False,
    device: SetDevice = None,
    overrides: Overrides = None,
) -> None:
    """Train a run, or go on with a killed one.

    Takes a job with features or prepared photographs; gives the run's folder, and prints it.

    Example: offsite train job.yaml --method sc_mil --held-out east --seed 1
    """
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages.training import train as train_cell

    job = job_of(config, overrides, device=device)
    cells = job.cells() if all_cells else [job.cell(method, held_out, seed)]
    check_job(job, cells)
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
