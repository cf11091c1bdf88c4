"""What happens to a run in the night: the end is the undisturbed one, and each message helps."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workflows.job_files import same_results, small_job, write_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def words(config: Path) -> list[str]:
    return [sys.executable, "-m", "offsite", "workflow", "run", str(config), "--cores", "2"]


def workflow(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that is done; whoever damages it leaves it as it was."""
    config = small_job(tmp_path_factory.mktemp("finished"))
    done = workflow(config)
    assert done.returncode == 0, done.stdout[-3000:]
    return config


@pytest.fixture(scope="module")
def undisturbed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the job as it was when it was done."""
    folder = tmp_path_factory.mktemp("undisturbed") / "job"
    return shutil.copytree(finished.parent, folder, copy_function=shutil.copy2) / finished.name


@pytest.fixture
def fresh(undisturbed: Path, tmp_path: Path) -> Path:
    """The same job, nothing done."""
    shutil.copytree(undisturbed.parent / "cohort", tmp_path / "cohort", copy_function=shutil.copy2)
    return write_job(tmp_path)


def started(config: Path, when: Callable[[], bool]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        words(config), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 300
    while process.poll() is None and not when():
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def processes(*command: str) -> list[int]:
    """Numbers of the processes whose command line holds these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if set(command) <= set(line):
            found.append(int(folder.name))
    return found


def test_a_killed_job_is_tried_again(undisturbed: Path, fresh: Path) -> None:
    run = started(fresh, lambda: bool(processes("train", str(fresh))))
    for number in processes("train", str(fresh)):
        os.kill(number, signal.SIGKILL)
    assert run.wait(timeout=300) == 0
    same_results(fresh, undisturbed)


def test_a_killed_run_goes_on_by_itself(undisturbed: Path, fresh: Path) -> None:
    curves = fresh.parent / "results/runs/sc_mil/without-cedar/seed-0/curves.jsonl"
    run = started(fresh, lambda: curves.is_file() and curves.read_text().count("\n") >= 3)
    second = workflow(fresh)
    assert second.returncode == 2
    assert "another workflow run works in this folder" in second.stdout
    os.killpg(run.pid, signal.SIGKILL)  # as when the machine goes down
    run.wait()
    assert workflow(fresh).returncode == 0
    same_results(fresh, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_named_and_room_is_enough_to_go_on(
    undisturbed: Path, fresh: Path, small_disk: Path
) -> None:
    config = write_job(fresh.parent, output="disk/results")
    early = workflow(config)
    assert early.returncode == 2
    assert "the disk is full" in early.stdout
    assert not list(small_disk.iterdir())
    # Enough for the least that the job can take, and not for what it takes.
    subprocess.run(["mount", "-o", "remount,size=600k", small_disk], check=True)
    done = workflow(config)
    assert done.returncode != 0
    assert "No space left on device" in done.stdout or "the disk is full" in done.stdout
    assert "Make room, then run the same command" in done.stdout
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    again = workflow(config)
    assert again.returncode == 0, again.stdout[-3000:]
    same_results(config, undisturbed)


RUN = "runs/sc_mil/without-cedar/seed-0"
# The file, what is removed so that its reader runs again, and the stage that its message names.
DAMAGED = {
    "tiles": ("tiles/aster-*.parquet", ("workflow/embed*.done", "features/*.h5"), "workflow tile"),
    "features": ("features/aster-*.h5", ("workflow/trained/**/*.done",), "workflow embed"),
    "predictions": (f"{RUN}/predictions.parquet", (f"{RUN}/evaluation/report.html",), "train"),
    "weights": (f"{RUN}/weights.safetensors", ("workflow/registered.txt",), "train"),
    "table": (f"{RUN}/evaluation/per_site.csv", ("workflow/tracked.done",), "evaluate"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_one_changed_bit_is_named_with_the_stage_that_mends_it(
    undisturbed: Path, finished: Path, what: str
) -> None:
    pattern, markers, stage = DAMAGED[what]
    results = finished.parent / "results"
    file = sorted(results.glob(pattern))[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for marker in markers:
        for made in results.glob(marker):
            made.unlink()
    done = workflow(finished)
    assert done.returncode == 1
    assert file.name in done.stdout, done.stdout[-4000:]
    assert f"Run `offsite {stage}` again" in done.stdout, done.stdout[-4000:]
    assert "Traceback" not in done.stdout, done.stdout[-4000:]
    target = results / RUN if stage == "evaluate" else finished
    call = [sys.executable, "-m", "offsite", *stage.split(), str(target)]
    subprocess.run(call, check=True, capture_output=True, env=ENVIRONMENT)
    again = workflow(finished)
    assert again.returncode == 0, again.stdout[-4000:]
    same_results(finished, undisturbed)


def test_a_jump_of_the_clock_changes_no_result(undisturbed: Path, finished: Path) -> None:
    ahead = time.time() + 86_400
    for wrong in ("cohort", "results"):  # the clock was a day ahead when these were written
        for file in (finished.parent / wrong).rglob("*"):
            os.utime(file, (ahead, ahead))
        done = workflow(finished)
        assert done.returncode == 0, done.stdout[-3000:]
        same_results(finished, undisturbed)
