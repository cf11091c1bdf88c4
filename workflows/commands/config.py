"""``offsite config``: what can be set, from the settings' own models."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="What can be set in a job's configuration.", no_args_is_help=True)


@app.command()
def page() -> None:
    """Print every setting with its default and meaning, as Markdown."""
    from offsite.workflows.jobs.settings_page import page as written

    typer.echo(written(), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of a configuration."""
    from offsite.workflows.jobs.settings_page import schema as written

    typer.echo(written(), nl=False)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The job's configuration.")],
) -> None:
    """Check a configuration and its cohort, and list the runs that it asks for."""
    from offsite.workflows.jobs.job import Job

    job = Job.load(config)
    for cell in job.cells():
        typer.echo(cell.name)
