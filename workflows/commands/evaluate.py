"""``offsite evaluate``: what to expect at each site, as tables, a page and in MLflow."""

from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands.options import TrackingUri


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
) -> None:
    """Measure models at every site; prints the path of each report.

    A run folder is evaluated by its own configuration. Any other model's predictions can be
    evaluated too: a Parquet or CSV table with image, patient, site, split, label and prob_<class>.
    """
    from offsite.workflows.stages import evaluation as evaluation_stage

    for run in runs:
        if (run / evaluation_stage.CELL).is_file():
            report = evaluation_stage.evaluate_run(run).report
            if tracking_uri:
                evaluation_stage.track_run(run, tracking_uri, experiment)
        else:
            report = evaluation_stage.evaluate_table(run, output, settings)
        typer.echo(report)
