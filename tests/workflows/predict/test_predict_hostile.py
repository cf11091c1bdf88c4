"""Bad files among good ones: each has its row and its code, nothing crashes, memory stays flat."""

import csv
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from tests.workflows.conftest import FundusRun
from tests.workflows.hostile import make_hostile

RUN = """
import resource, sys
from pathlib import Path
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
first, inputs, package, warm, output = sys.argv[1:6]

def run(names, where):
    options = BatchOptions(output=Path(where), workers=2)
    return predict([Path(names)], package, options, site="aster", device="cpu")

run(first, warm)  # everything is imported from here on
outcome = run(inputs, output)
print(outcome.exit_code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def rows_by_name(output: Path) -> dict[str, dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    by_name = {Path(row["input"]).name: row for row in rows}
    assert len(by_name) == len(rows), "no input has two rows"
    return by_name


def photographs_of(run: FundusRun) -> list[Path]:
    return sorted((run.cohort.parent).rglob("*.jpg"))


def check(output: Path, codes: dict[str, set[str]]) -> None:
    rows = rows_by_name(output)
    for name, right in codes.items():
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
        row = rows[shown]
        assert row["code"] in right, (name, row["code"], row["reasons"])
        assert row["reasons"], name
        if row["status"] in ("error", "excluded"):
            assert row["decision"] != "no_referral", name
    assert "internal_error" not in {row["code"] for row in rows.values()}
    inside = {path.resolve() for path in output.rglob("*")}
    assert all(path.is_relative_to(output.resolve()) for path in inside)
    for row in rows.values():
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_every_bad_file_has_its_row_and_its_code(fundus_run: FundusRun, tmp_path: Path) -> None:
    photographs = photographs_of(fundus_run)
    codes = make_hostile(tmp_path / "in", photographs[0])
    for path in photographs[1:13]:
        shutil.copy(path, tmp_path / "in")
    output = tmp_path / "in" / "out"  # an output within the inputs is not read again
    options = BatchOptions(output=output, workers=2)
    outcome = predict([tmp_path / "in"], str(fundus_run.package), options, device="cpu")
    assert outcome.exit_code == 3
    check(output, codes)
    rows = rows_by_name(output)
    assert len(rows) == len(codes) + 12
    assert rows["copy of it.jpg"]["duplicate_of"]
    lines = (output / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert {Path(json.loads(line)["input"]).name for line in lines} == set(rows)
    again = predict([tmp_path / "in"], str(fundus_run.package), options, device="cpu")
    assert again.counts == outcome.counts


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an ordinary user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_thousand_photographs_with_sixty_bad_ones_in_flat_memory(
    fundus_run: FundusRun, open_folder: Path
) -> None:
    photographs = photographs_of(fundus_run)
    package = shutil.copytree(fundus_run.package, open_folder / "package")
    make_hostile(open_folder / "first", photographs[0])
    peaks = {}
    for count in (100, 1000):
        inputs, output = open_folder / f"in{count}", open_folder / f"out{count}"
        codes = sixty_bad(inputs, photographs)
        for number in range(count - len(codes)):
            shutil.copy(photographs[number % len(photographs)], inputs / f"good {number:04d}.jpg")
        output.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(open_folder / "first"), str(inputs), str(package),
             str(open_folder / f"warm{count}"), str(output)],
            capture_output=True, text=True, cwd=Path(__file__).parents[3],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        code, peaks[count] = map(int, done.stdout.split())
        assert code == 3
        check(output, codes)
        assert len(rows_by_name(output)) == count
    assert peaks[1000] < 1.05 * peaks[100] + 20, peaks


def sixty_bad(folder: Path, photographs: list[Path]) -> dict[str, set[str]]:
    codes = make_hostile(folder, photographs[0])
    rng = random.Random(0)
    for number in range(60 - len(codes)):
        whole = rng.choice(photographs).read_bytes()
        name = f"damaged {number}.jpg"
        (folder / name).write_bytes(whole[: rng.randrange(1, len(whole) - 200)])
        codes[name] = {"unreadable", "not_an_image"}
    return codes
