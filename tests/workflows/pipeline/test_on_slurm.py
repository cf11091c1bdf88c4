"""The workflow on a real SLURM: queued, failed and retried, its controller killed; as on one machine.

It installs and starts a whole SLURM as root, so it runs by ``make slurm`` alone.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workflows.job_files import same_results, small_job, write_job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(560),
    pytest.mark.skipif(os.environ.get("OFFSITE_SLURM") != "1", reason="make slurm runs it"),
]
NODE = Path(__file__).parents[3] / "workflows" / "clusters" / "slurm-node"
# A small cluster is asked often; the plugin's first look comes after 40 s else.
IMPATIENT = ("--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks",
             "2", "--slurm-keep-successful-logs")  # fmt: skip


def offsite(*words: object) -> list[str]:
    return [sys.executable, "-m", "offsite", *map(str, words)]


def soon(found: Callable[[], str], what: str, seconds: float = 240) -> str:
    """Wait for an answer that is not empty, and never without end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"no {what} after {seconds:.0f} s")


@pytest.fixture(scope="module")
def node(open_folder: Path) -> Iterator[Callable[[str], None]]:
    home = open_folder

    def act(action: str) -> None:
        with (home / "node.log").open("a") as log:  # its servers live on: a pipe would never close
            code = subprocess.run([NODE, action, home], stdout=log, stderr=log, timeout=300)
        assert code.returncode == 0, (home / "node.log").read_text()[-2000:]

    os.environ["SLURM_CONF"] = str(home / "slurm.conf")
    try:
        act("start")
        yield act
    finally:
        act("stop")


def slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def running(rule: str) -> str:
    """The first running job of a rule; the plugin names the rule in the comment."""
    rows = slurm("squeue", "-h", "-t", "RUNNING", "-o", "%i %k").splitlines()
    return next((row.split()[0] for row in rows if f"rule_{rule}" in row), "")


def process_of(command: str, config: Path) -> str:
    """The number of a process that does a command on this job."""
    words = f"-m offsite {command} {config}".split()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_text().split("\0")[1 : len(words) + 1] == words:
                return folder.name
    return ""


def history() -> list[dict[str, str]]:
    fields = ("JobID", "Comment", "State", "Submit", "Start", "End")
    rows = slurm("sacct", "-X", "-n", "-P", f"--format={','.join(fields)}").splitlines()
    return [dict(zip(fields, row.split("|"), strict=True)) for row in rows]


def test_a_disturbed_run_on_slurm_equals_the_one_of_this_machine(
    node: Callable[[str], None], open_folder: Path, tmp_path: Path
) -> None:
    here, there = small_job(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    (there / "cohort").symlink_to(tmp_path / "here" / "cohort")
    config = write_job(there)
    with (tmp_path / "here.log").open("w") as log:
        reference = subprocess.Popen(
            offsite("workflow", "run", here), stdout=log, stderr=subprocess.STDOUT
        )
    with (tmp_path / "run.log").open("w") as log:
        run = subprocess.Popen(
            offsite("workflow", "run", config, "--profile", "slurm", "--", *IMPATIENT),
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            tiling = soon(lambda: process_of("workflow tile", config), "tiling")
            os.kill(int(tiling), signal.SIGKILL)  # as the kernel kills for memory
            soon(lambda: process_of("workflow embed", config), "embedding")
            slurm("scancel", running("images"))  # as a cluster's keeper does
            soon(lambda: running("train"), "running training")
            # What it has not written yet, within 5 s, a killed controller forgets.
            written = open_folder / "state" / "job_state"
            soon(lambda: "x" if b"rule_train" in written.read_bytes() else "", "saved state")
            node("kill-controller")
            time.sleep(5)
            node("start-controller")
            code = run.wait(timeout=240)
        finally:
            run.kill()
    assert code == 0, (tmp_path / "run.log").read_text()[-5000:]
    assert reference.wait(timeout=240) == 0, (tmp_path / "here.log").read_text()[-3000:]

    same_results(config, here)
    rows = history()
    (tmp_path / "history.json").write_text(json.dumps(rows, indent=1))
    states = {
        rule: sorted(row["State"] for row in rows if f"rule_{rule}" in row["Comment"])
        for rule in ("images", "train", "evaluate", "track", "compare", "register")
    }
    # Two stages of two shards. The killed process was tried again within its allocation or in
    # another; the job that was cancelled was submitted again.
    images = states.pop("images")
    assert images.count("COMPLETED") == 4, images
    assert any(state.startswith("CANCELLED") for state in images), images
    logs = (there / "results/.snakemake/slurm_logs/rule_images").rglob("*.log")
    assert any("Killed" in log.read_text(errors="replace") for log in logs)
    assert all(state == ["COMPLETED"] for state in states.values()), states
    assert all(row["Submit"] <= row["Start"] <= row["End"] for row in rows)
