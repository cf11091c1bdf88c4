"""``offsite doctor``: whether this machine is fit to run."""

from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands.options import TrackingUri


def doctor(
    folder: Annotated[Path, typer.Option(help="Where results will be written.")] = Path(),
    tracking_uri: TrackingUri = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Try what offsite needs on this machine.

    Takes nothing; gives a list of what works, each failure with its remedy. Exit code 1: something
    that is needed does not work.

    Example: offsite doctor --folder results --tracking-uri sqlite:///mlflow.db
    """
    import json
    from dataclasses import asdict

    from rich.table import Table

    from offsite.workflows.console.messages import data
    from offsite.workflows.doctor import examine

    results = examine(folder, tracking_uri)
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        table = Table(show_header=False, box=None, pad_edge=False)
        for result in results:
            bad = "[red]✗[/red]" if result.needed else "[yellow]–[/yellow]"
            mark = "[green]✓[/green]" if result.works else bad
            told = result.told if result.works else f"{result.told}. {result.remedy}"
            table.add_row(mark, result.name, told.replace("[", r"\["))
        data.print(table)
    if any(result.needed and not result.works for result in results):
        raise typer.Exit(1)
