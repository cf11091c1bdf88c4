"""``offsite site sums``, ``join`` and ``leave``: hospitals share sums, and no image."""

from pathlib import Path
from typing import Annotated

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

_INTERRUPTED = 130
_Run = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of method linear.")]
_NewRun = Annotated[Path, typer.Option("--output", "-o", help="Folder of the new run.")]


def sums(
    cohort: Annotated[
        Path, typer.Argument(metavar="COHORT", help="Labelled cases: image, patient, site, label.")
    ],
    model: Model,
    site: Annotated[
        str,
        typer.Option(help="The site, as the table spells it.", autocompletion=completion.sites),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for sums and cases.")],
    keep_back: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Share of the patients kept back, to calibrate and judge with."
        ),
    ] = 0.3,
    least: Annotated[
        int, typer.Option(min=5, help="Patients that each class must have to be summed.")
    ] = 5,
    leave_out_rare: Annotated[
        bool, typer.Option("--leave-out-rare", help="Leave classes with fewer patients out.")
    ] = False,
    features: Features = None,
    tracking_uri: TrackingUri = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="0 = one per core.")] = 0,
    require_signature: RequireSignature = False,
    key: Keys = None,
) -> None:
    """Sum up a hospital's labelled cases, so that a model can be fitted to them without an image.

    Takes a cohort and a model of method linear; gives `sums.npz`, the one file to send, and prints
    it. It is pseudonymous, not anonymous. `kept_back.csv` names the cases that are in no sum:
    calibrate the common model with them. Exit code 130: interrupted; run it again to go on.

    Example: offsite site sums cohort.csv -m models:/grader@champion --site north -o north
    """
    from offsite.workflows.commands.options import cores, refusing, trusted_keys
    from offsite.workflows.console.messages import messages, say
    from offsite.workflows.site.sums import export_sums

    try:
        with refusing():
            done = export_sums(
                cohort,
                model,
                site,
                output,
                keep_back=keep_back,
                least=least,
                leave_out_rare=leave_out_rare,
                tracking_uri=tracking_uri,
                device=device,
                workers=cores(workers),
                keys=trusted_keys(require_signature, key),
                features=features,
            )
    except KeyboardInterrupt:
        say("Interrupted: no sums were made. Run it again to go on where it stopped.")
        raise typer.Exit(_INTERRUPTED) from None
    from offsite.workflows.console.tables import plain_table

    table = plain_table(f"{site}: labelled cases in the sums")
    for column in done.counts:
        table.add_column(
            str(column).replace("_", " "), justify="right" if len(table.columns) else "left"
        )
    for row in done.counts.itertuples(index=False):
        table.add_row(*map(str, row))
    messages.print(table)
    if done.unanswered:
        say(f"{done.unanswered} labelled cases could not be read or graded, and are in no sum.")
    say(
        "Send this one file. It holds no image and no row of a case, and is pseudonymous, not"
        f" anonymous. Everything else in {output} stays here."
    )
    typer.echo(done.file)


def join(
    run: _Run,
    files: Annotated[
        list[Path], typer.Argument(metavar="SUMS...", help="Files of `offsite site sums`.")
    ],
    output: _NewRun,
) -> None:
    """Fit the head of a run to its own rows and those behind other hospitals' sums.

    Takes a run and files of sums; gives a new run folder and prints it: evaluate, register and judge
    it as any other run. The head is the one that all rows together would give. The new hospitals then
    calibrate it with the cases that they kept back.

    Example: offsite site join results/runs/linear north/sums.npz south/sums.npz -o joined
    """
    from offsite.workflows.site.joining import join as fitted

    typer.echo(fitted(run, files, output))


def leave(
    run: _Run,
    site: Annotated[str, typer.Option(help="The hospital that leaves.")],
    output: _NewRun,
) -> None:
    """Fit the head of a run without a hospital, whether it came with images or by sums.

    Takes a run and a hospital; gives a new run folder and prints it. The old one stays as it is, and
    no row and no sum of the hospital is in the new one.

    Example: offsite site leave joined --site south -o without-south
    """
    from offsite.workflows.site.joining import leave as fitted

    typer.echo(fitted(run, site, output))
