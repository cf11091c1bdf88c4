"""Arguments and options that several commands share: one spelling and one meaning each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.evaluation.tracking.address import login_apart
from offsite.workflows.commands import completion

if TYPE_CHECKING:
    from offsite.workflows.jobs.job import Job

REFUSED = 4

Config = Annotated[
    Path, typer.Argument(metavar="JOB", help="The job's configuration, a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; repeatable."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=COLUMN",
        help="Which column of a table is its site, patient, label, score, prob_CLASS; repeatable.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="A,B",
        help="Classes of a table in order, the negative or mildest first.",
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Items at a time; 0 = one per core of this machine.")
]
Part = Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N parts, for job arrays.")]
Join = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Only join the tables of the N parts that are done."),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        callback=lambda uri: None if uri is None else login_apart(uri),
        help="MLflow store: sqlite:///path/mlflow.db or http(s)://server.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
SetDevice = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps; default: the job's setting."),
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Folder of a package, or models:/name@champion."),
]
Features = Annotated[
    Path | None,
    typer.Option(
        "--features",
        help="Folder of the features of a table's slides, for a model of another tool's features.",
    ),
]
CaseSeconds = Annotated[
    float,
    typer.Option(
        "--case-seconds",
        min=0.1,
        max=86_400,
        help="An image that is not read in this time is left.",
    ),
]
CaseGib = Annotated[
    float,
    typer.Option(
        "--case-gib", min=0.25, max=1024, help="Nor one that takes more memory to read, GiB."
    ),
]
RequireSignature = Annotated[
    bool,
    typer.Option("--require-signature", help="Refuse a model that no trusted key signed."),
]
Keys = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        metavar="PEM",
        help="Public key to trust instead of your trusted ones; repeatable. Asks for a signature.",
    ),
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option(
        help="Site to hold out; repeatable.", autocompletion=completion.sites, metavar="SITE"
    ),
]


def job_of(
    config: Path,
    overrides: Sequence[str] | None = None,
    *,
    device: str | None = None,
    device_setting: str = "training.fit.device",
) -> "Job":
    """Return the job of a configuration; `--device` is one more setting of it."""
    from offsite.workflows.jobs.job import Job

    named = [f"{device_setting}={device}"] if device else []
    return Job.load(config, [*(overrides or ()), *named])


@contextmanager
def refusing() -> Iterator[None]:
    """Where a model is refused, say why and end the command with exit code 4."""
    from offsite.workflows.console.messages import say
    from offsite.workflows.package.verification import ModelRefused

    try:
        yield
    except ModelRefused as error:
        say(f"The model is refused. {error}")
        raise typer.Exit(REFUSED) from error


def trusted_keys(required: bool, keys: Sequence[Path] | None) -> Sequence[Path] | None:
    """Return the keys of which one must have signed; none = no signature is asked for."""
    return list(keys or ()) if required or keys else None


def parse_part(text: str) -> tuple[int, int]:
    """Read ``i/n``; refuse what is not a part of a whole.

    Examples
    --------
    >>> parse_part('2/4')
    (2, 4)
    """
    number, slash, parts = text.partition("/")
    if not (slash and number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        raise typer.BadParameter(f"'{text}' is not a part; write 1/4 to 4/4")
    return int(number), int(parts)


def cores(workers: int) -> int:
    """Number of workers; 0 stands for the cores that this process may use."""
    from offsite.cores import usable_cores

    return workers or usable_cores()
