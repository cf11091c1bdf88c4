"""``offsite evaluate``: what to expect at each site, as tables, a page and in MLflow."""

from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands.options import Classes, Columns, Overrides, TrackingUri, job_of


def evaluate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN...]", help="Run folders, or tables of predictions."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the evaluation of a table; of several, one for each."
        ),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML with evaluation settings, for tables.")
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="Of runs: measure by this job's settings of today."),
    ] = None,
    column: Columns = None,
    classes: Classes = None,
    tracking_uri: TrackingUri = None,
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "offsite",
    overrides: Overrides = None,
    shortcuts: Annotated[
        bool,
        typer.Option("--shortcuts", help="Of runs: how far colour, sharpness and size alone get."),
    ] = False,
    example: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a table to start from, and stop.")
    ] = None,
) -> None:
    """Measure models at every site, with intervals and what to expect at the next one.

    Takes runs, or any model's predictions (CSV or Parquet: site, patient, label and
    probabilities, see docs/evaluation/predictions.md); gives tables and a page, and prints its
    path. A run is evaluated by the settings it was made with, or those of --job (and --set); --output,
    --settings, --column and --classes are for tables.

    Example: offsite evaluate results.csv -o evaluation --column site=hospital --column score=p
    --classes benign,malignant
    """
    from offsite.evaluation.tracking.runs import how_to_look
    from offsite.workflows.console.messages import say
    from offsite.workflows.stages import table_evaluation as of_tables
    from offsite.workflows.stages.evaluation import CELL, evaluate_run
    from offsite.workflows.stages.tracking import track_run

    if example is not None:
        typer.echo(of_tables.write_example(example))
        return
    if not runs:
        raise typer.BadParameter("name a run folder or a table; --example FILE writes one")
    tables = [run for run in runs if not (run / CELL).is_file()]
    given = {"--output": output, "--settings": settings, "--column": column, "--classes": classes}
    given |= {} if job else {"--set": overrides}
    unused = [name for name, value in given.items() if value is not None]
    if unused and len(tables) < len(runs):
        raise typer.BadParameter(f"{unused[0]} is for tables; a run has its own settings")
    if shortcuts and tables:
        raise typer.BadParameter("--shortcuts is for runs: a table does not say where images lie")
    if job and tables:
        raise typer.BadParameter("--job is for runs: a table has no job")
    of_job = job_of(job, overrides) if job else None
    overrides = [*(overrides or ()), *of_tables.as_overrides(column or (), classes)]
    folders = dict(zip(tables, of_tables.folders_of(tables, output), strict=True))
    for run in runs:
        if run not in folders:
            report = evaluate_run(run, of_job, shortcuts=shortcuts).report
            if tracking_uri:
                logged = track_run(run, tracking_uri, experiment)
        else:
            made = of_tables.evaluate_table(run, folders[run], settings, overrides)
            report = made.report
            if tracking_uri:
                logged = of_tables.track_table(made, run.name, tracking_uri, experiment)
        typer.echo(report)
        if tracking_uri:
            say(how_to_look(tracking_uri, experiment, logged))
