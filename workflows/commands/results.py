"""Track and compare: from runs to MLflow and to a comparison of methods."""

from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands import completion
from offsite.workflows.commands.options import (
    Classes,
    Columns,
    Config,
    Overrides,
    TrackingUri,
    job_of,
)


def track(config: Config, tracking_uri: TrackingUri = None, overrides: Overrides = None) -> None:
    """Log every evaluated run of a job to MLflow, by one writer.

    Takes a job whose runs are evaluated; gives MLflow runs, prints each with its identifier, and says
    where they are seen.

    Example: offsite workflow track job.yaml
    """
    from offsite.evaluation.tracking.runs import how_to_look
    from offsite.workflows.console.messages import say
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages.tracking import track_run

    job = job_of(config, overrides)
    check_job(job)
    uri, experiment = tracking_uri or job.tracking_uri, job.configuration.tracking.experiment
    for cell in job.reported():
        run = track_run(job.run_folder(cell), uri, experiment)
        typer.echo(f"{cell.name} {run}")
    say(how_to_look(uri, experiment))


def compare(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="JOB | TABLE TABLE...",
            help="A job's configuration, or two tables of predictions or more of the same images.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of a comparison of tables.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Method that the others are compared with; of tables its file's name.",
            autocompletion=completion.job_methods,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to show of a job; repeatable.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML with evaluation settings, for tables.")
    ] = None,
    column: Columns = None,
    classes: Classes = None,
    overrides: Overrides = None,
) -> None:
    """Compare models: the methods of a job, or tables of predictions, with paired intervals.

    Takes a job whose runs are trained; gives comparison.csv and a page. Or takes predictions of the
    same images by several models; gives differences, what each would catch of what the other
    misses, and a page. Prints the page or table's path. A difference whose interval holds 0 is not
    shown to be one.

    Example: offsite compare job.yaml --baseline erm --metric macro_f1

    Example: offsite compare ours.parquet theirs.csv -o comparison
    """
    if len(inputs) > 1:
        from offsite.workflows.stages.pairing import compare_tables
        from offsite.workflows.stages.table_evaluation import as_overrides

        if metric:
            raise typer.BadParameter("--metric is for a job; --set primary_metric=... for tables")
        given = [*(overrides or ()), *as_overrides(column or (), classes)]
        typer.echo(compare_tables(inputs, output, settings, given, baseline))
        return
    named = {"--output": output, "--settings": settings, "--column": column, "--classes": classes}
    if unused := next((name for name, value in named.items() if value is not None), None):
        raise typer.BadParameter(f"{unused} is for tables, of which a comparison needs two")
    from offsite.tables.reading import is_table
    from offsite.workflows.console.comparison import show
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages.comparison import compare as compare_job
    from offsite.workflows.stages.comparison import comparison_path

    if is_table(inputs[0]):
        raise typer.BadParameter("a comparison of tables needs two")
    job = job_of(inputs[0], overrides)
    check_job(job)
    confidence = job.configuration.report_settings().metrics.confidence
    show(compare_job(job, baseline), metric or [], confidence)
    typer.echo(comparison_path(job))
