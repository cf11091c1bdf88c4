"""``offsite model``: from a run to the registry, and into a model package."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands.model_plan import plan_gate
from offsite.workflows.commands.options import (
    REFUSED,
    Keys,
    Overrides,
    RequireSignature,
    TrackingUri,
    job_of,
    refusing,
    trusted_keys,
)
from offsite.workflows.commands.serve import serve
from offsite.workflows.commands.sign import sign

if TYPE_CHECKING:
    from offsite.evaluation.gate.verdict import GateVerdict

app = typer.Typer(
    help="register, plan-gate, promote, info, sign, verify, export, serve: registered versions and packages.",
    no_args_is_help=True,
)
app.command("plan-gate")(plan_gate)
app.command()(sign)
app.command()(serve)
_Model = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="Folder of a package, or models:/name@alias.")
]
_ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="The same, as predict spells it.")
]


@app.command()
def register(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|JOB", help="Folder of a finished run, or a job.")
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
    overrides: Overrides = None,
) -> None:
    """Package a run and register it as a candidate.

    Takes a run, or a job (of which the run of the first method that did best on validation is
    taken: neither test images nor held-out sites have a say); gives a version, and prints its
    address. With --gate the candidate becomes @champion only if it meets every rule at every site
    (exit code 4: it does not).

    Example: offsite model register job.yaml --name grader --gate gate.yaml
    """
    from offsite.evaluation.tracking.runs import how_to_look
    from offsite.workflows.console.messages import say
    from offsite.workflows.jobs.checking import check_job
    from offsite.workflows.stages.gate import pass_gate
    from offsite.workflows.stages.registration import best_run, register
    from offsite.workflows.stages.registration import job_of as job_of_run

    if source.is_dir():
        if overrides:
            raise typer.BadParameter("--set changes a job; a run has the settings it was made with")
        run = source
    else:
        job = job_of(source, overrides)
        check_job(job)
        run = best_run(job)
    job = job_of_run(run)
    tracking = job.configuration.tracking
    uri = tracking_uri or job.tracking_uri
    registered = register(run, name or tracking.model, uri, tracking.experiment)
    typer.echo(registered.address)
    say(how_to_look(uri, tracking.experiment, registered.tracking_run))
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


@app.command()
def promote(
    because: Annotated[str, typer.Option(help="Who decided what, and why; kept with the version.")],
    model: _Model = None,
    named: _ModelOption = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Make a version that was set for a site the champion, for a written reason.

    Takes a version that `offsite site calibrate --register` made; gives @champion to it, and
    prints its address. The gate judges runs, and has no cases of the site: the decision is a
    person's. A retrained model is promoted by `offsite model register --gate` alone.

    Example: offsite model promote models:/grader/4 --because "Dr A: read twice at annex, 6 weeks"
    """
    from offsite.workflows.predict.running import tracking_store
    from offsite.workflows.site.registry import promote_site_version

    address = _one_of(model, named)
    typer.echo(promote_site_version(tracking_store(tracking_uri), address, because))


@app.command()
def info(
    model: _Model = None,
    named: _ModelOption = None,
    tracking_uri: TrackingUri = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of model.json.")] = False,
) -> None:
    """Say what a model is, where it was made, and what is known of it.

    Takes a package or a registered model; gives a table on the screen, or JSON.

    Example: offsite model info models:/grader@champion --tracking-uri sqlite:///mlflow.db
    """
    from rich.table import Table

    from offsite.workflows.console.messages import data
    from offsite.workflows.package.folder import load_record

    with _package(_one_of(model, named), tracking_uri) as folder:
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
def verify(
    model: _Model = None,
    named: _ModelOption = None,
    tracking_uri: TrackingUri = None,
    require_signature: RequireSignature = False,
    key: Keys = None,
) -> None:
    """Check every byte of a package, and who signed it.

    Takes a package or a registered model; gives its digest, or names the file at fault (exit
    code 4). With --require-signature or --key it must be signed by a trusted key.

    Example: offsite model verify package --key maker.pem
    """
    from offsite.workflows.console.messages import say
    from offsite.workflows.package.folder import load_record
    from offsite.workflows.package.signing import check_signature, signatures_of

    with _package(_one_of(model, named), tracking_uri) as folder:
        digest = load_record(folder)[1]
        keys = trusted_keys(require_signature, key)
        if keys is not None:
            say(f"signed by {check_signature(folder, keys)}, which is trusted here")
        elif signed := signatures_of(folder):
            say(f"signed by {', '.join(signed)}; whether to trust that was not asked")
        typer.echo(digest)


@app.command()
def export(
    model: _Model = None,
    to: Annotated[Path | None, typer.Argument(metavar="FOLDER", hidden=True)] = None,
    named: _ModelOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make.", show_default=False)
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Copy a verified package to a folder, for a machine without the registry.

    Takes a package or a registered model; gives the folder that `offsite predict -m` takes.

    Example: offsite model export models:/grader@champion -o grader
    """
    from offsite.workflows.package.folder import export_package

    if named is not None and model is not None and to is None:
        to, model = Path(model), None  # offsite model export -m MODEL FOLDER
    folder = output or to
    if folder is None:
        raise typer.BadParameter("name the folder to make: -o FOLDER")
    with _package(_one_of(model, named), tracking_uri) as package:
        typer.echo(export_package(package, folder))


def _one_of(argument: str | None, option: str | None) -> str:
    if (argument is None) == (option is None):
        raise typer.BadParameter("name one model: a folder, or models:/name@champion")
    return argument or option or ""


@contextmanager
def _package(model: str, tracking_uri: str | None) -> Iterator[Path]:
    """The folder of a package while it is needed; a refused one ends the command, exit code 4."""
    from offsite.workflows.predict.running import opened_model

    with refusing():
        if model.startswith("models:/"):
            with opened_model(model, tracking_uri) as package:
                yield package.path
        else:
            yield Path(model)
