"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The job's configuration, a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; may be repeated."),
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
    typer.Option(help="MLflow store: sqlite:///path/mlflow.db or http(s)://server."),
]


def parse_part(text: str) -> tuple[int, int]:
    """Read ``i/n``; refuse what is not a part of a whole."""
    number, slash, parts = text.partition("/")
    if not (slash and number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        raise typer.BadParameter(f"'{text}' is not a part; write 1/4 to 4/4")
    return int(number), int(parts)


def cores(workers: int) -> int:
    """Number of workers; 0 stands for the cores that this process may use."""
    from offsite.cores import usable_cores

    return workers or usable_cores()
