"""``offsite predict``: for the clinician."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from offsite.workflows.commands import completion
from offsite.workflows.commands.options import (
    CaseGib,
    CaseSeconds,
    Device,
    Features,
    Keys,
    Model,
    RequireSignature,
    TrackingUri,
)


def predict(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Images, folders, or cohort tables (CSV or Parquet)."),
    ],
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; run again to go on.")
    ],
    site: Annotated[
        str,
        typer.Option(
            help="Site of the inputs, where no table names it.", autocompletion=completion.sites
        ),
    ] = "",
    features: Features = None,
    tracking_uri: TrackingUri = None,
    device: Device = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Photographs at a time on the device.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=256, help="Inputs prepared at a time; 0 = one per core.")
    ] = 0,
    part: Annotated[
        str, typer.Option(metavar="I/N", help="Only this share; a last run without it gathers all.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first case that fails.")
    ] = False,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Do every case again.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do again what failed before, too.")
    ] = False,
    case_seconds: CaseSeconds = 120.0,
    case_gib: CaseGib = 4.0,
    json_log: Annotated[
        bool, typer.Option("--json-log", help="Log JSON lines, for machines.")
    ] = False,
    require_signature: RequireSignature = False,
    key: Keys = None,
) -> None:
    """Read new cases with a model. Research use only.

    Takes images, folders or a worklist; gives a page to open, and prints it, and results.csv with a
    row for every input. Exit code 3: some cases have no answer; 4: the model is not what it was
    when it was made, and was not used.

    Example: offsite predict inbox -m models:/grader@champion -o results --site east
    """
    from offsite.children.limits import Limits
    from offsite.workflows.commands.options import cores, refusing, trusted_keys
    from offsite.workflows.console.messages import data, say
    from offsite.workflows.predict import running
    from offsite.workflows.predict.batch import BatchOptions

    options = BatchOptions(
        output=output,
        workers=cores(workers),
        part=part,
        fail_fast=fail_fast,
        resume=not no_resume,
        retry_failed=retry_failed,
        limits=Limits(case_seconds=case_seconds, case_gib=case_gib),
        json_log=json_log,
    )
    keys = trusted_keys(require_signature, key)
    with refusing():
        if dry_run:
            counts = running.plan(
                inputs,
                model,
                options,
                site=site,
                tracking_uri=tracking_uri,
                device=device,
                keys=keys,
                features=features,
            )
            for name, count in counts.items():
                data.print(f"{name:<18}{count:>8}")
            return
        outcome = running.predict(
            inputs,
            model,
            options,
            site=site,
            tracking_uri=tracking_uri,
            device=device,
            batch_size=batch_size,
            keys=keys,
            features=features,
        )
    with suppress(OSError):  # a log that cannot be written; run.json says so
        _tell(outcome.counts, json_log)
        if outcome.left_out and not json_log:
            say(f"{outcome.left_out}.")
    page = outcome.folder / ("results.csv" if part else "index.html")
    typer.echo(page)
    raise typer.Exit(outcome.exit_code)


def _tell(counts: dict[str, dict[str, int]], json_log: bool) -> None:
    """The outcome as a small table, for people."""
    if json_log:
        return
    from rich.table import Table

    from offsite.workflows.console.messages import messages

    table = Table(title="Research use only. Not for diagnosis.", title_style="dim")
    table.add_column("decision")
    table.add_column("cases", justify="right")
    table.add_column("without a plain answer")
    table.add_column("cases", justify="right")
    left = list(counts["decision"].items())
    right = [(code, n) for code, n in counts["code"].items() if code != "ok"]
    for row in range(max(len(left), len(right))):
        cells: list[str] = []
        for side in (left, right):
            name, number = side[row] if row < len(side) else ("", "")
            cells += [str(name).replace("_", " "), str(number)]
        table.add_row(*cells)
    messages.print(table)
