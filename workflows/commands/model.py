"""``offsite model``: look into a model package."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look into a model package; promote one.", no_args_is_help=True)
REFUSED = 4
Model = Annotated[str, typer.Argument(help="Folder of a package, or models:/name@alias.")]
Uri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow store of models:/...")]


@app.command()
def info(
    model: Model,
    tracking_uri: Uri = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of model.json.")] = False,
) -> None:
    """Say what a model is, where it was made, and what is known of it."""
    from rich.table import Table

    from offsite.workflows.console.messages import data
    from offsite.workflows.package.folder import load_record

    with _package(model, tracking_uri) as folder:
        record, digest = load_record(folder)
    if as_json:
        typer.echo(json.dumps({**record.model_dump(mode="json"), "sha256": digest}, indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    decision = record.decision
    rows = [
        ("name", f"{record.name} {record.version}".strip()),
        ("sha256", digest),
        ("reads", record.task + (f", {record.mpp:g} um per px" if record.mpp else "")),
        ("says", f"{record.target}: {', '.join(record.classes)}"),
        ("network", record.architecture.name),
        ("trained at", f"{', '.join(record.training_sites)} ({record.patients} patients)"),
        ("referral for", ", ".join(decision.positive)),
        ("urgent for", ", ".join(decision.urgent) or "nothing"),
        ("sites with a profile", ", ".join(s for s in sorted(record.profiles) if s[0] != "_")),
        *(("limit", limit) for limit in record.limits),
        ("notice", "Research use only. Not a medical device."),
    ]
    for name, value in rows:
        table.add_row(f"[dim]{name}[/dim]", value.replace("[", r"\["))
    data.print(table)


@app.command()
def verify(model: Model, tracking_uri: Uri = None) -> None:
    """Check every byte of a package; prints its digest, or names the file at fault (exit 4)."""
    from offsite.workflows.package.folder import load_record

    with _package(model, tracking_uri) as folder:
        typer.echo(load_record(folder)[1])


@app.command()
def export(
    model: Model,
    to: Annotated[Path, typer.Argument(help="Folder to make.")],
    tracking_uri: Uri = None,
) -> None:
    """Copy a verified package to a folder, for a machine without the registry."""
    from offsite.workflows.package.folder import export_package

    with _package(model, tracking_uri) as folder:
        typer.echo(export_package(folder, to))


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="models:/name/version, made by calibrate.")],
    because: Annotated[str, typer.Option(help="Who decided what, and why; kept with the version.")],
    tracking_uri: Uri = None,
) -> None:
    """Make a version that was onboarded at a site the champion, for a written reason.

    The gate judges runs, and has no cases of the site: the decision is a person's. A retrained
    model is promoted by `offsite register --gate` alone.
    """
    from offsite.workflows.predict.running import tracking_store
    from offsite.workflows.site.registry import promote_onboarded

    typer.echo(promote_onboarded(tracking_store(tracking_uri), model, because))


@contextmanager
def _package(model: str, tracking_uri: str | None) -> Iterator[Path]:
    """The folder of a package while it is needed; a refused one ends the command, exit code 4."""
    from offsite.workflows.console.messages import say
    from offsite.workflows.package.verification import ModelRefused
    from offsite.workflows.predict.running import opened_model

    try:
        if model.startswith("models:/"):
            with opened_model(model, tracking_uri) as package:
                yield package.path
        else:
            yield Path(model)
    except ModelRefused as error:
        say(f"The model is refused. {error}")
        raise typer.Exit(REFUSED) from error
