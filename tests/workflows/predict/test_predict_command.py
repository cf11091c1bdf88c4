"""The real command in a process of its own: killed, tampered with, without a network, dry."""

import csv
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import plan, predict
from tests.workflows.command import ENVIRONMENT, call, offsite
from tests.workflows.conftest import FundusRun


def words(run: FundusRun, output: Path, *more: str) -> list[str]:
    return [
        "predict", str(run.cohort), "--model", str(run.package), "--output", str(output),
        "--device", "cpu", "--workers", "1", *more,
    ]  # fmt: skip


def command(run: FundusRun, output: Path, *more: str) -> list[str]:
    return call(*words(run, output, *more))


def finished(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, env=ENVIRONMENT)


def table(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def assert_same(rows: list[dict[str, str]], wanted: list[dict[str, str]]) -> None:
    assert [row["case"] for row in rows] == [row["case"] for row in wanted]
    for one, other in zip(rows, wanted, strict=True):
        for name, value in one.items():
            if name.startswith("prob_") and value:
                assert abs(float(value) - float(other[name])) < 2e-6
            elif name == "answered_at":
                assert bool(value) == bool(other[name])
            elif name != "referable_probability" and not name.endswith("_probability"):
                assert value == other[name], (one["input"], name)


@pytest.fixture(scope="module")
def undisturbed(fundus_run: FundusRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    options = BatchOptions(output=output, workers=1)
    predict([fundus_run.cohort], str(fundus_run.package), options, device="cpu")
    return output


def kill_and_go_on(run: FundusRun, output: Path, after: int, delay: float = 0.0) -> int:
    """Kill the command once so many cases are written; returns how many were whole then."""
    process = subprocess.Popen(command(run, output), stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        while process.poll() is None and len(list(output.glob("cases/*/case.json"))) < after:
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    records = output.glob("cases/*/case.json")
    return sum(has_its_files(record) for record in records)


def has_its_files(record: Path) -> bool:
    """Whether the files that a case's record names are there: the record is written first."""
    files = json.loads(record.read_text())["files"]
    return all((record.parent / name).is_file() for name in files.values())


def test_a_killed_run_goes_on_to_the_same_result(
    fundus_run: FundusRun, undisturbed: Path, tmp_path: Path
) -> None:
    wanted = table(undisturbed)
    written = kill_and_go_on(fundus_run, tmp_path, after=20)
    assert 19 <= written < len(wanted)  # one may be cut off between its record and its files
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"
    done = finished(command(fundus_run, tmp_path, "--json-log"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "index.html")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    cases = [event for event in events if event["event"] == "case"]
    assert sum(event["resumed"] for event in cases) == written
    assert_same(table(tmp_path), wanted)
    assert not list(tmp_path.rglob("*.tmp*"))


@pytest.mark.slow
def test_killed_at_twenty_random_moments(
    fundus_run: FundusRun, undisturbed: Path, tmp_path: Path
) -> None:
    wanted = table(undisturbed)
    rng = random.Random(0)
    for moment in range(20):
        output = tmp_path / str(moment)
        kill_and_go_on(fundus_run, output, rng.randrange(len(wanted)), rng.uniform(0, 0.3))
        if moment % 4 == 3:  # and once more
            kill_and_go_on(fundus_run, output, rng.randrange(len(wanted)))
        assert finished(command(fundus_run, output)).returncode == 0
        assert_same(table(output), wanted)
        shutil.rmtree(output)


@pytest.mark.parametrize("name", ["weights.safetensors", "card.md"])
def test_a_tampered_package_is_refused_with_exit_code_4(
    fundus_run: FundusRun, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "package"
    shutil.copytree(fundus_run.package, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    run = FundusRun(fundus_run.cohort, fundus_run.run, folder)
    verify = ["model", "verify", str(folder)]
    done = offsite(*(verify if name == "card.md" else words(run, tmp_path / "out")))
    assert done.returncode == 4, done.stderr
    assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_and_writes_nothing(
    fundus_run: FundusRun, undisturbed: Path, tmp_path: Path
) -> None:
    model = str(fundus_run.package)
    fresh = plan([fundus_run.cohort], model, BatchOptions(output=tmp_path / "out"), device="cpu")
    assert fresh["to do"] == fresh["inputs"] > 50
    assert not (tmp_path / "out").exists()
    before = (undisturbed / "run.json").stat().st_mtime_ns
    done = plan([fundus_run.cohort], model, BatchOptions(output=undisturbed), device="cpu")
    assert (done["to do"], done["done already"]) == (0, fresh["inputs"])
    assert (undisturbed / "run.json").stat().st_mtime_ns == before


def test_it_runs_without_any_network(
    fundus_run: FundusRun, undisturbed: Path, tmp_path: Path
) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("no network namespace may be made here")
    done = finished([*alone, *command(fundus_run, tmp_path)])
    assert done.returncode == 0, done.stderr
    assert_same(table(tmp_path), table(undisturbed))


def test_what_cannot_be_used_is_one_sentence(fundus_run: FundusRun, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.mkdir()
    (busy / "thesis.docx").touch()
    done = offsite(*words(fundus_run, busy, "--site", "x"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "thesis.docx" in done.stderr
    assert "Traceback" not in done.stderr
