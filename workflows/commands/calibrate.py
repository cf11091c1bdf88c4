"""``offsite calibrate``: onboard a hospital with local cases."""

from pathlib import Path
from typing import Annotated, Any

import typer

REFUSED, INTERRUPTED = 4, 130


def calibrate(
    cohort: Annotated[Path, typer.Argument(help="Local cases: image, patient, site, label.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Folder of a package, or models:/name@champion.")
    ],
    site: Annotated[str, typer.Option(help="The site, as the table spells it.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for predictions, report and package.")
    ],
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow store of models:/..., and of --register."),
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Make it a new version of the model, with no alias.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="0 = one per core.")] = 0,
) -> None:
    """Check a model at a site with 50 to 100 labelled local cases, and set it for the site.

    Prints the new package, which has a profile for the site. From unlabelled cases: an alarm and
    an estimate of how frequent each class is, and no package. Exit code 130: interrupted, and no
    package; run it again to go on.
    """
    from offsite.workflows.commands.options import cores
    from offsite.workflows.console.messages import say
    from offsite.workflows.package.verification import ModelRefused
    from offsite.workflows.site.stage import calibrate as run

    try:
        done = run(
            cohort,
            model,
            site,
            output,
            tracking_uri=tracking_uri,
            register=register,
            device=device,
            workers=cores(workers),
        )
    except ModelRefused as error:
        say(f"The model is refused. {error}")
        raise typer.Exit(REFUSED) from error
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
    if "banner" in report:
        messages.print(f"[bold]{report['banner']}[/bold]")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
