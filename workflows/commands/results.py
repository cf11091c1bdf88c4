"""``offsite track``, ``compare``, ``register``: from runs to MLflow, a comparison, a version."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands.options import Config, Overrides, TrackingUri

if TYPE_CHECKING:
    from offsite.evaluation.gate.verdict import GateVerdict

REFUSED = 4


def track(config: Config, tracking_uri: TrackingUri = None) -> None:
    """Log every evaluated run of a job to MLflow, by one writer; prints each MLflow run."""
    from offsite.workflows.jobs.job import Job
    from offsite.workflows.stages.evaluation import track_run

    job = Job.load(config)
    uri = tracking_uri or job.tracking_uri
    for cell in job.cells():
        run = track_run(job.run_folder(cell), uri, job.configuration.tracking.experiment)
        typer.echo(f"{cell.name} {run}")


def compare(
    config: Config,
    baseline: Annotated[
        str | None, typer.Option(help="Method that the others are compared with.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to show; may be repeated.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Compare the methods of a job over seeds and patients; writes comparison.csv.

    A difference whose interval holds 0 is not shown to be one.
    """
    from offsite.workflows.console.comparison import show
    from offsite.workflows.jobs.job import Job
    from offsite.workflows.stages.comparison import compare, comparison_path

    job = Job.load(config, overrides or ())
    confidence = job.configuration.report_settings().metrics.confidence
    show(compare(job, baseline), metric or [], confidence)
    typer.echo(comparison_path(job))


def register(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|CONFIG", help="Folder of a finished run, or a job.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the registered model; default: the job's.")
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(help="Rules (YAML): promote to @champion where every site meets them."),
    ] = None,
    override: Annotated[
        str, typer.Option(help="Promote in spite of a refusal, with this written reason (kept).")
    ] = "",
    tracking_uri: TrackingUri = None,
) -> None:
    """Package a run and register it as a candidate; prints the model's address.

    Its evaluation is brought up to date first, and its test predictions are kept with the version.
    Of a job, the run of its first method with the best validation score is registered: neither
    test images nor held-out sites have a say in it. With --gate the candidate becomes @champion
    only if it meets every rule at every site; exit code 4: it does not.
    """
    from offsite.workflows.jobs.job import Job
    from offsite.workflows.stages.gate import pass_gate
    from offsite.workflows.stages.registration import best_run, job_of, register

    run = source if source.is_dir() else best_run(Job.load(source))
    job = job_of(run)
    tracking = job.configuration.tracking
    uri = tracking_uri or job.tracking_uri
    registered = register(run, name or tracking.model, uri, tracking.experiment)
    typer.echo(registered.address)
    if gate is not None:
        verdict = pass_gate(run, registered.name, registered.version, uri, gate, override)
        _tell(verdict)
        if not verdict.allowed:
            raise typer.Exit(REFUSED)


def _tell(verdict: "GateVerdict") -> None:
    from rich.markup import escape

    from offsite.workflows.console.messages import say

    for rule in verdict.rules:
        mark = "[green]met[/green]    " if rule.passed else "[red]refused[/red]"
        say(f"{mark}  {rule.rule}: {escape(rule.sentence)}")
    outcome = "champion" if verdict.passed else "overridden" if verdict.allowed else "not promoted"
    say(f"[bold]{outcome}[/bold]")
