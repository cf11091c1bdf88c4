"""``offsite patient``: where a patient is held in a job, and what follows a withdrawal of consent."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.errors import InputError
from offsite.evaluation.tracking.address import PASSWORD, USER
from offsite.workflows.commands.options import Config, Overrides, job_of

if TYPE_CHECKING:
    from offsite.workflows.jobs.job import Job
    from offsite.workflows.patients.entries import Done
    from offsite.workflows.patients.found import Held

app = typer.Typer(
    help="find, forget: where one patient is held, and a withdrawal of consent.",
    no_args_is_help=True,
)
Patient = Annotated[
    str, typer.Argument(metavar="PATIENT", help="As column 'patient' of the cohort has it.")
]
Also = Annotated[
    list[Path] | None,
    typer.Option(
        "--also",
        metavar="FOLDER",
        help="A folder of predictions, packages or tables to look through as well; repeatable."
        " Nothing there is changed.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Do not ask; without a terminal nothing is done otherwise.")
]


@app.command()
def find(config: Config, patient: Patient, also: Also = None, overrides: Overrides = None) -> None:
    """List everything in a job that holds a patient, and what `forget` would do with it.

    Takes a job and a patient; gives a line for each cohort row, original, prepared picture, table of
    tiles, feature file, run, MLflow run and version, and changes nothing.

    Example: offsite patient find job.yaml aster-007
    """
    from offsite.workflows.console.messages import say
    from offsite.workflows.jobs.forgotten import Forgotten
    from offsite.workflows.patients import found as looking
    from offsite.workflows.patients.entries import already
    from offsite.workflows.patients.identity import unknown_patient

    job = job_of(config, overrides)
    found = looking.find(job, patient, also or ())
    if found.is_nothing:
        entry = Forgotten(job).of(patient)
        raise unknown_patient(job) if entry is None else already(job, entry)
    _show(list(looking.holdings(job, found)))
    say("Nothing was changed. `offsite patient forget` does what the last column says.")


@app.command()
def forget(
    config: Config,
    patient: Patient,
    also: Also = None,
    yes: Yes = False,
    overrides: Overrides = None,
) -> None:
    """Take a patient who withdrew consent out of a job, as if it had never been in it.

    Takes a job and a patient; gives a job whose tables, features, runs, evaluations and packages are
    without the patient, prints what is left to you, and keeps a record that names nobody. Every run
    that held the patient is trained again. What is removed cannot be had again: at a terminal it shows
    what `find` shows and asks for the patient once more, elsewhere it needs --yes. Interrupted, it
    goes on when it is given again.

    Example: offsite patient forget job.yaml aster-007 --yes
    """
    from offsite.workflows.console.messages import say
    from offsite.workflows.jobs.forgotten import RECORD
    from offsite.workflows.patients.forgetting import forget as forgotten

    job = job_of(config, overrides)
    done = forgotten(job, patient, also or (), None if yes else _asked(job, patient))
    _tell(done)
    say(f"Record, without a name: {job.output / RECORD}")


def _asked(job: "Job", patient: str) -> "Callable[[Sequence[Held]], None]":
    """What shows a patient's holdings and asks whether it is meant; refuses where nobody can be asked."""
    from offsite.tables.words import tidy

    def ask(held: Sequence["Held"]) -> None:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise _unconfirmed(job, "nobody is here to say that the patient is to be forgotten")
        _show(held)
        typed = typer.prompt("To forget the patient, type the name again", default="", err=True)
        if tidy(typed) != tidy(patient):
            raise _unconfirmed(job, "that is another name")

    return ask


def _unconfirmed(job: "Job", problem: str) -> InputError:
    return InputError(
        problem,
        file=job.file,
        remedy="Nothing was changed: look with `offsite patient find`, and give it again with --yes",
        code="not_confirmed",
    )


def _show(lines: Sequence["Held"]) -> None:
    from rich.markup import escape

    from offsite.workflows.console.messages import data
    from offsite.workflows.console.tables import plain_table

    table = plain_table(f"{len(lines)} holdings")
    for column in ("what", "where", "then"):
        table.add_column(column, overflow="fold")
    for held in lines:
        table.add_row(*map(escape, (held.what, held.where, held.then)))
    data.print(table)


def _tell(done: "Done") -> None:
    """Say what became of runs and MLflow, and list what is left to the hospital."""
    from offsite.workflows.console.messages import data, say

    for run in done.runs:
        why = f" ({run['why']})" if run["why"] else ""
        data.print(f"{run['folder']}: {run['becomes']}{why}", soft_wrap=True, markup=False)
        if distance := run.get("distance"):
            data.print(
                f"  answers to {distance['images']} other images: mean KL {distance['kl']:.2g} nats"
                f" from the run before, {distance['changed']} with another class",
                soft_wrap=True,
            )
        if run.get("signed_before"):
            data.print("  its package was signed, and the new one is not: `offsite model sign`")
    for address in done.store.registered:
        data.print(f"{address}: registered, @candidate; the gate decides on it as on any other")
    if done.store.gc:
        say(
            f"{len(done.store.deleted)} runs of MLflow are deleted. Their files are gone once the"
            " administrator of the store has run:"
        )
        data.print(done.store.gc, soft_wrap=True, markup=False)
        if " DATABASE " in done.store.gc:
            say(
                "DATABASE is what the server was started with (--backend-store-uri); where it asks for"
                f" a login, set {USER} and {PASSWORD}."
            )
    for one in done.store.serving:
        for version in one.versions:
            say(
                f"{version.address} serves (@{', @'.join(version.aliases)}) and stays until another"
                " takes its place: `offsite model promote`, then give this command again."
            )
    if done.left:
        say("Left to you, because offsite did not make it or cannot make it again:")
        _show(done.left)
