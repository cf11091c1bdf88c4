"""``offsite site``: fit a model to one hospital."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offsite.workflows.commands import completion
from offsite.workflows.commands.options import (
    Device,
    Features,
    Keys,
    Model,
    RequireSignature,
    TrackingUri,
)
from offsite.workflows.commands.site_plan import plan
from offsite.workflows.commands.site_sums import join, leave, sums

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    help="plan, calibrate, sums, join, leave: a hospital's cases set a model, or enter its head.",
    no_args_is_help=True,
)
app.command()(plan)
app.command()(sums)
app.command()(join)
app.command()(leave)
INTERRUPTED = 130


@app.command()
def calibrate(
    cohort: Annotated[
        Path,
        typer.Argument(metavar="COHORT", help="Local cases: image, patient, site, label."),
    ],
    model: Model,
    site: Annotated[
        str,
        typer.Option(help="The site, as the table spells it.", autocompletion=completion.sites),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for predictions, report and package.")
    ],
    features: Features = None,
    tracking_uri: TrackingUri = None,
    register: Annotated[
        bool, typer.Option("--register", help="Make it a new version of the model, with no alias.")
    ] = False,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Fit the last layer again with the cases, if that helps here."
        ),
    ] = False,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="0 = one per core.")] = 0,
    require_signature: RequireSignature = False,
    key: Keys = None,
) -> None:
    """Check a model at a site with 50 to 100 labelled local cases, and fit its settings to it.

    Takes a cohort of local cases and a model; gives a package with a profile for the site, and
    prints it. From unlabelled cases: an alarm and an estimate of how frequent each class is, and
    no package. Exit code 130: interrupted, and no package; run it again to go on.

    Example: offsite site calibrate annex.csv -m models:/grader@champion --site annex -o annex
    """
    from offsite.workflows.commands.options import cores, refusing, trusted_keys
    from offsite.workflows.console.messages import say
    from offsite.workflows.site.stage import calibrate as run

    try:
        with refusing():
            done = run(
                cohort,
                model,
                site,
                output,
                tracking_uri=tracking_uri,
                register=register,
                refit=refit,
                device=device,
                workers=cores(workers),
                keys=trusted_keys(require_signature, key),
                features=features,
            )
    except KeyboardInterrupt:
        say("Interrupted: no package was made. Run it again to go on where it stopped.")
        raise typer.Exit(INTERRUPTED) from None
    _tell(done.report)
    if done.package is not None:
        typer.echo(done.version or done.package)
    if done.version:
        say(
            "The version has no alias; @candidate and @champion stay where they are."
            f" `offsite model promote {done.version} --because ...` makes it the champion."
        )


def _tell(report: dict[str, Any]) -> None:
    from rich.table import Table

    from offsite.workflows.console.messages import messages

    colours = {"holds": "green", "fails": "red"}
    title = f"{report['site']}: {report['labelled']} labelled of {report['cases']} answered cases"
    table = Table(title=title, title_justify="left")
    for column in ("check", "promised", "here", "95 % interval", "n", "verdict"):
        table.add_column(column, justify="left" if column in ("check", "verdict") else "right")
    for name, check in report["checks"].items():
        colour = colours.get(check["verdict"], "yellow")
        table.add_row(
            name,
            f"{check['target']:.2f}",
            _number(check["value"]),
            f"{_number(check['low'])} to {_number(check['high'])}",
            str(check["n"]),
            f"[{colour}]{check['verdict']}[/{colour}]",
        )
    messages.print(table)
    if "plan" in report:
        messages.print(_plan_table(report["plan"]))
    if "refit" in report:
        messages.print(_refitted(report["refit"]))
    if "banner" in report:
        messages.print(f"[bold]{report['banner']}[/bold]")


def _plan_table(rows: list[dict[str, Any]]) -> "Table":
    """What it takes to state each sensitivity, or a threshold, beside what is here."""
    from rich.table import Table

    table = Table(title="patients it takes to state", title_justify="left")
    for column in ("of", "", "within", "positive, here", "needed", "in all, here", "needed"):
        table.add_column(column, justify="left" if column in ("of", "") else "right")
    for row in rows:
        needs = [row["positives_needed"], row["patients_needed"]]
        here = [row["positives"], row["patients"]]
        cells = [
            text
            for count, need in zip(here, needs, strict=True)
            for text in (f"{count:,}", "–" if need is None else f"{need:,}")
        ]
        table.add_row(row["what"], row["states"], f"± {row['within']:g}", *cells)
    return table


def _refitted(report: dict[str, Any]) -> str:
    """What became of a refit, in two sentences."""
    shipped = report["as_shipped"]
    verdict = "[green]adopted[/green]" if report["adopted"] else "[yellow]not adopted[/yellow]"
    return (
        f"Refit with {report['cases']} cases: {verdict}, as {report['why']}. Log loss"
        f" {report['log_loss']:.3f}; as shipped, at its best temperature here,"
        f" {shipped['log_loss']:.3f} (gain at least {shipped['at_least']:+.3f})."
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
