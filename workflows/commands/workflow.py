"""``offsite workflow``: the whole job under Snakemake, on this machine or a cluster."""

from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands.options import Config

app = typer.Typer(
    help="The same steps as one reproducible workflow: what is done is not done again.",
    no_args_is_help=True,
)
_More = Annotated[
    list[str] | None, typer.Argument(metavar="[-- SNAKEMAKE...]", help="Passed on to snakemake.")
]


@app.command()
def run(
    config: Config,
    cores: Annotated[int, typer.Option(min=0, help="Cores on this machine; 0 = all.")] = 0,
    profile: Annotated[
        str, typer.Option(help="default, slurm, kubernetes, or the folder of your own profile.")
    ] = "default",
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    more: _More = None,
) -> None:
    """Do whatever of a job is not done yet."""
    from offsite.workflows.pipeline import running as snakemake_run

    extra = [*(["--dry-run"] if dry_run else []), *(more or [])]
    raise typer.Exit(snakemake_run.run(config, profile=profile, cores=cores, more=extra))


@app.command()
def status(config: Config) -> None:
    """Say how far a job is: done and outstanding, by stage."""
    from rich.table import Table

    from offsite.workflows.console.messages import data
    from offsite.workflows.pipeline.running import progress

    shown = Table("stage", "done", "of", title_justify="left")
    for stage, done, total in progress(config):
        shown.add_row(stage, str(done), str(total))
    data.print(shown)


@app.command()
def report(
    config: Config,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path(
        "workflow.html"
    ),
) -> None:
    """Write one self-contained page of the workflow, with the report of each run."""
    from offsite.workflows.pipeline import running as snakemake_run

    raise typer.Exit(snakemake_run.run(config, cores=1, more=["--report", str(output.absolute())]))
