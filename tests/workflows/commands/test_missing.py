"""What a command is given and is not there is a sentence, whichever command and parameter it is."""

import os
from pathlib import Path

import click
import pytest
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.workflows.cli import app
from offsite.workflows.site.sums_file import read_sums
from tests.workflows.sown import IN_PROCESSES, LONG, PATHS, TEXTS, commands

TAKING = {
    name: command
    for name, command in commands().items()
    if name not in (*LONG, *IN_PROCESSES)
    and any(each.required and each.name in PATHS for each in command.params)
}


@pytest.mark.parametrize("name", TAKING)
def test_what_is_not_there_is_said_and_nothing_is_made(name: str, tmp_path: Path) -> None:
    words = name.split()
    for parameter in TAKING[name].params:
        given = parameter.name or ""
        if not parameter.required and given not in ("output", "model"):
            continue
        if isinstance(parameter, click.Option):
            words.append(parameter.opts[0])
        here = str(tmp_path / ("out" if given == "output" else f"no-{given}"))
        words.append(here if given in PATHS or given == "model" else TEXTS.get(given, "x"))
    done = CliRunner().invoke(app, words)
    said = isinstance(done.exception, InputError) or done.exit_code in (2, 4)
    assert said, f"{words}: {done.exit_code} {done.exception!r} {done.output}"
    assert list(tmp_path.iterdir()) == []


def test_sums_that_are_not_there_or_no_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("none.npz", "pipe.npz", ""):
        with pytest.raises(InputError) as caught:
            read_sums(tmp_path / name)
        assert caught.value.code == "not_sums"
