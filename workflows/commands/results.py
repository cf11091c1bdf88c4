"""Track and compare: from runs to MLflow and to a comparison of methods."""

from typing import Annotated

import typer

from offsite.workflows.commands import completion
from offsite.workflows.commands.options import Config, Overrides, TrackingUri, job_of


def track(config: Config, tracking_uri: TrackingUri = None, overrides: Overrides = None) -> None:
    """Log every evaluated run of a job to MLflow, by one writer.

    Takes a job whose runs are evaluated; gives MLflow runs, and prints each with its identifier.

    Example: offsite workflow track job.yaml
    """
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages.evaluation import track_run

    job = job_of(config, overrides)
    check_job(job)
    uri = tracking_uri or job.tracking_uri
    for cell in job.cells():
        run = track_run(job.run_folder(cell), uri, job.configuration.tracking.experiment)
        typer.echo(f"{cell.name} {run}")


def compare(
    config: Config,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Method that the others are compared with.",
            autocompletion=completion.job_methods,
        ),
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metric to show; repeatable.")] = None,
    overrides: Overrides = None,
) -> None:
    """Compare the methods of a job over seeds and patients, with paired intervals.

    Takes a job whose runs are trained; gives comparison.csv and a page, and prints its path. A
    difference whose interval holds 0 is not shown to be one.

    Example: offsite compare job.yaml --baseline erm --metric macro_f1
    """
    from offsite.workflows.console.comparison import show
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages.comparison import compare as compare_job
    from offsite.workflows.stages.comparison import comparison_path

    job = job_of(config, overrides)
    check_job(job)
    confidence = job.configuration.report_settings().metrics.confidence
    show(compare_job(job, baseline), metric or [], confidence)
    typer.echo(comparison_path(job))
