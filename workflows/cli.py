"""The ``offsite`` command.

Exit codes: 0 done; 1 internal error; 2 unusable input or settings; 3 done, but some items failed;
4 model refused; 130 interrupted. Data goes to files or standard output, messages to standard error.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import typer

from offsite.errors import InputError, fault_of_system
from offsite.workflows.commands import (
    cohort,
    demo,
    doctor,
    encoder,
    evaluate,
    model,
    patient,
    predict,
    results,
    screen,
    site,
    stages,
    workflow,
)

app = typer.Typer(
    name="offsite",
    cls=screen.FirstScreen,
    help="Medical-imaging models that hold up at hospitals they were never trained on.",
    epilog="Begin with: offsite demo pathology. Every command has --help with an example.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _group in {
    "demo": demo.app,
    "cohort": cohort.app,
    "workflow": workflow.app,
    "encoder": encoder.app,
    "model": model.app,
    "site": site.app,
    "patient": patient.app,
}.items():
    app.add_typer(_group, name=_name, rich_help_panel=screen.panel_of(_name))
_commands: dict[str, Callable[..., None]] = {
    "doctor": doctor.doctor,
    "train": stages.train,
    "evaluate": evaluate.evaluate,
    "compare": results.compare,
    "predict": predict.predict,
}
for _name, _command in _commands.items():
    app.command(_name, rich_help_panel=screen.panel_of(_name))(_command)
screen.add_aliases(app)
screen.fill_paragraphs(app)


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
    """Run the command; an unusable input is a sentence on standard error and exit code 2.

    So is a disk that is full or read-only, and what may not be read or written.
    """
    _start_in_utf8()
    try:
        app()
    except InputError as error:
        _end(error)
    except Exception as error:
        fault = fault_of_system(error)
        if fault is None:
            raise
        _end(fault)


def _end(error: InputError) -> NoReturn:
    with suppress(OSError):  # standard error may be on the very disk that is full
        typer.secho(str(error), fg="red", err=True)
    sys.exit(2)


def _start_in_utf8() -> None:
    """Begin again in UTF-8 where the locale says otherwise.

    Names of files and what is printed are in UTF-8 whatever the locale: a Latin-1 or C locale would
    else look for other names than the table gives, and could not print a tick. Python takes its
    encoding when it starts, and so do the processes that it starts.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    encodings = {sys.getfilesystemencoding(), *(stream.encoding for stream in streams)}
    if {name.lower() for name in encodings if name} == {"utf-8"} or os.name != "posix":
        return
    if not sys.flags.utf8_mode:
        environment = {**os.environ, "PYTHONUTF8": "1"}
        environment.pop("PYTHONIOENCODING", None)  # it would overrule the rest
        os.execve(  # noqa: S606 (ourselves, with the same words)
            sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment
        )
