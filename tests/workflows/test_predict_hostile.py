"""Bad files among good ones: each has its row and its code, nothing crashes, memory stays flat."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflows.conftest import FundusRun
from tests.workflows.hostile import make_hostile
from workflows.predict.batch import BatchOptions
from workflows.predict.running import predict

RUN = """
import resource, sys
from pathlib import Path
from workflows.predict.batch import BatchOptions
from workflows.predict.running import predict
inputs, package, output = sys.argv[1:4]
outcome = predict([Path(inputs)], package, BatchOptions(output=Path(output), workers=2),
                  site="aster", device="cpu")
print(outcome.exit_code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def rows_by_name(output: Path) -> dict[str, dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {Path(row["input"]).name: row for row in rows}
    assert len(found) == len(rows), "no input has two rows"
    return found


def photographs_of(run: FundusRun) -> list[Path]:
    return sorted((run.cohort.parent).rglob("*.jpg"))


def check(output: Path, codes: dict[str, set[str]]) -> None:
    found = rows_by_name(output)
    for name, right in codes.items():
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
        row = found[shown]
        assert row["code"] in right, (name, row["code"], row["reasons"])
        assert row["reasons"], name
        if row["status"] in ("error", "excluded"):
            assert row["decision"] != "no_referral", name
    assert "internal_error" not in {row["code"] for row in found.values()}
    inside = {path.resolve() for path in output.rglob("*")}
    assert all(path.is_relative_to(output.resolve()) for path in inside)
    for row in found.values():
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
    found = rows_by_name(output)
    assert len(found) == len(codes) + 12
    assert found["copy of it.jpg"]["duplicate_of"]
    lines = (output / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert {Path(json.loads(line)["input"]).name for line in lines} == set(found)
    again = predict([tmp_path / "in"], str(fundus_run.package), options, device="cpu")
    assert again.counts == outcome.counts


@pytest.mark.slow
def test_a_thousand_photographs_with_sixty_bad_ones_in_flat_memory(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    """As an ordinary user, to whom permissions mean something."""
    photographs = photographs_of(fundus_run)
    peaks = {}
    codes: dict[str, set[str]] = {}
    for count in (100, 1000):
        inputs = tmp_path / f"in{count}"
        codes = make_hostile(inputs, photographs[0])
        codes["locked.jpg"] = {"permission_denied"}
        rng = random.Random(0)
        for number in range(60 - len(codes)):
            whole = rng.choice(photographs).read_bytes()
            name = f"damaged {number}.jpg"
            (inputs / name).write_bytes(whole[: rng.randrange(1, len(whole) - 200)])
            codes[name] = {"unreadable", "not_an_image"}
        for number in range(count - len(codes)):
            content = photographs[number % len(photographs)].read_bytes()
            # Other bytes after the end of the picture: another content, the same pixels.
            (inputs / f"good {number:04d}.jpg").write_bytes(content)
        output = tmp_path / f"out{count}"
        output.mkdir()
        for path in (tmp_path, inputs, output, fundus_run.package.parent):
            path.chmod(0o755)
        os.chown(output, 65534, 65534)
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(inputs), str(fundus_run.package), str(output)],
            capture_output=True, text=True, user=65534, cwd=Path(__file__).parents[2],
            env={**os.environ, "HOME": str(output), "MPLCONFIGDIR": str(output / ".mpl")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        code, peaks[count] = map(int, done.stdout.split())
        assert code == 3
        check(output, codes)
        assert len(rows_by_name(output)) == count
    assert peaks[1000] < 1.1 * peaks[100] + 20, peaks
