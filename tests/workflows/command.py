"""The `offsite` command in a process of its own."""

import os
import subprocess
import sys

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def call(*words: object) -> list[str]:
    """Return what starts the command."""
    return [sys.executable, "-m", "offsite", *map(str, words)]


def offsite(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(call(*words), capture_output=True, text=True, env=ENVIRONMENT)
