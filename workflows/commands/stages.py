"""The stages of a job from its images to its runs, each resumable."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

    from offsite.training.steps import Step
    from offsite.workflows.jobs.job import Job

UNUSABLE, SOME_FAILED = 2, 3
# Not the image is at fault but what a stage made of it: that stage must run again.
BROKEN = ("damaged_tiles", "not_tiled")
_STEP_OPTIONS: dict[str, tuple[Any, Any]] = {
    "workers": (Workers, 0),
    "part": (Part, "1/1"),
    "join": (Join, 0),
    "overrides": (Overrides, None),
}
"""What every stage of images can be told, with its default."""


def step_command(step: "Step") -> Callable[..., None]:
    """Return the command of a stage from images to what a model reads."""

    def command(config: Path, **given: Any) -> None:
        device = given.get("device")
        overrides = [*(given["overrides"] or ()), *([f"{step.device}={device}"] if device else [])]
        extras = [name for name in step.extras if given[name]]
        _images(
            step.name,
            job_of(config, overrides),
            given["workers"],
            given["part"],
            given["join"],
            extras,
        )

    command.__name__, command.__doc__ = step.name, step.help
    hints = {"config": Config, **{name: hint for name, (hint, _) in _STEP_OPTIONS.items()}}
    defaults = {name: default for name, (_, default) in _STEP_OPTIONS.items()}
    if step.device:
        hints["device"], defaults["device"] = SetDevice, None
    for name, about in step.extras.items():
        option = typer.Option(f"--{name}", help=about)
        hints[name], defaults[name] = Annotated[bool, option], False
    command.__annotations__ = hints
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                annotation=hint,
                default=defaults.get(name, inspect.Parameter.empty),
            )
            for name, hint in hints.items()
        ]
    )
    return command


def _images(
    name: str, job: "Job", workers: int, part: str, join: int, extras: Sequence[str]
) -> None:
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages import images as image_stages

    check_job(job)
    if join:
        table = image_stages.join(job, name, join)
    else:
        table = image_stages.run(job, name, cores(workers), parse_part(part))
    for extra in extras:
        image_stages.make_extra(job, name, extra, table, parse_part(part))
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
    fold: Annotated[
        str | None,
        typer.Option(
            metavar="FOLD",
            help="With protocol folds: 1, 1-repeat-2, refit; default: all folds, then the refit.",
        ),
    ] = None,
    all_cells: Annotated[
        bool, typer.Option("--all", help="Every method x held-out site x seed x fold of the job.")
    ] = False,
    device: SetDevice = None,
    overrides: Overrides = None,
) -> None:
    """Train a run, or go on with a killed one.

    Takes a job whose image stages are done; gives the run's folder, and prints it. With protocol
    folds these are the folds and, last, the refit on all patients, which ships.

    Example: offsite train job.yaml --method sc_mil --held-out east --seed 1
    """
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages.training import train as train_cell

    job = job_of(config, overrides, device=device)
    cells = job.cells() if all_cells else job.chosen(method, held_out, seed, fold)
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
