"""``offsite evaluate``: what to expect at each site, as tables, a page and in MLflow."""

from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands.options import Overrides, TrackingUri


def evaluate(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, or a predictions table.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the evaluation of a predictions table."),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML with evaluation settings, for a predictions table.")
    ] = None,
    tracking_uri: TrackingUri = None,
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "offsite",
    overrides: Overrides = None,
) -> None:
    """Measure models at every site, with intervals and what to expect at the next one.

    Takes runs, or any model's predictions (Parquet or CSV: image, patient, site, split, label,
    prob_CLASS); gives tables and a page, and prints its path. A run is evaluated by the settings
    it was made with; --settings and --set are for tables.

    Example: offsite evaluate predictions.csv -o evaluation --set metrics.resamples=500
    """
    from offsite.workflows.stages import evaluation as evaluation_stage

    for run in runs:
        if (run / evaluation_stage.CELL).is_file():
            if overrides:
                raise typer.BadParameter("--set is for tables; a run has its own settings")
            report = evaluation_stage.evaluate_run(run).report
            if tracking_uri:
                evaluation_stage.track_run(run, tracking_uri, experiment)
        else:
            report = evaluation_stage.evaluate_table(run, output, settings, overrides or ())
        typer.echo(report)
