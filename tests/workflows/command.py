"""The `offsite` command, in this process or in one of its own."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest.mock import patch

from offsite.workflows.cli import main
from offsite.workflows.console.messages import data, messages

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def call(*words: object) -> list[str]:
    """Return what starts the command in a process of its own."""
    return [sys.executable, "-m", "offsite", *map(str, words)]


def offsite(*words: object) -> CompletedProcess[str]:
    """Run the program to its end here, with its exit code: a process would load libraries for seconds."""
    said, told = io.StringIO(), io.StringIO()
    arguments, code = ["offsite", *map(str, words)], 0
    with (
        patch.object(sys, "argv", arguments), patch.object(data, "_width", 200),
        patch.object(messages, "_width", 200), redirect_stdout(said), redirect_stderr(told),
    ):  # fmt: skip
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    return CompletedProcess(arguments, code, said.getvalue(), told.getvalue())
