"""The ``offsite`` command.

Exit codes: 0 done; 1 internal error; 2 unusable input or settings; 3 done, but some items failed;
4 model refused; 130 interrupted. Data goes to files or standard output, messages to standard error.
"""

import os
import sys

import typer

from offsite.errors import InputError
from offsite.workflows.commands import (
    calibrate,
    cohort,
    config,
    demo,
    doctor,
    evaluate,
    model,
    predict,
    results,
    stages,
    twins,
    workflow,
)

app = typer.Typer(
    name="offsite",
    help="Medical-imaging models that hold up at hospitals they were never trained on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(demo.app, name="demo")
app.add_typer(config.app, name="config")
app.add_typer(cohort.app, name="cohort")
app.add_typer(workflow.app, name="workflow")
app.add_typer(model.app, name="model")
for command in (
    stages.tile,
    stages.embed,
    stages.prepare,
    stages.train,
    twins.twins,
    evaluate.evaluate,
    results.track,
    results.compare,
    results.register,
    calibrate.calibrate,
    predict.predict,
    doctor.doctor,
):
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("offsite"))
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    # Hospital networks: nothing is sent anywhere, and standard output stays data.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def main() -> None:
    """Run the command; an unusable input is a sentence on standard error and exit code 2."""
    try:
        app()
    except InputError as error:
        typer.secho(str(error), fg="red", err=True)
        sys.exit(2)
