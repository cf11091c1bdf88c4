"""Small inputs that failed once, one folder a kind: run by `make cases`, which prints a table.

The folders lie outside the project (``OFFSITE_CASES``); each right value is also a test of the
project's own, on data of its own making. A folder without a check here is named and skipped.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflows.conftest import FundusRun

CASES = Path(os.environ.get("OFFSITE_CASES", Path(__file__).parents[3] / "shared" / "cases"))
FOLDERS = sorted(path.name for path in CASES.iterdir() if path.is_dir()) if CASES.is_dir() else []
# Scripts of the cases import the rooms by the names they had before they were one package.
OLD_NAMES = """
import importlib, importlib.abc, importlib.util, runpy, sys
class Old(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    rooms = ("preprocessing", "training", "evaluation", "pathology", "retina", "workflows")
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.rooms:
            return importlib.util.spec_from_loader(name, self, is_package=True)
    def create_module(self, spec):
        return importlib.import_module("offsite." + spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Old())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
pytestmark = pytest.mark.slow
_table: list[tuple[str, str, str, str]] = []


@dataclass(frozen=True)
class Bench:
    """Where a case is tried: an empty folder, a package, and photographs."""

    root: Path
    case: Path
    package: Path
    photographs: tuple[Path, ...]

    def offsite(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "offsite", *map(str, words)],
            capture_output=True, text=True, timeout=240, cwd=self.root,
            env={**os.environ, **environment},
        )  # fmt: skip

    def predict(self, *words: object, output: str = "out", **environment: str) -> tuple[int, str]:
        """Return the exit code and standard error."""
        done = self.offsite(
            "predict", *words, "-m", self.package, "-o", self.root / output, **environment
        )
        return done.returncode, done.stderr

    def make(self) -> None:
        (self.root / "old_names.py").write_text(OLD_NAMES)
        script = self.case / "make.py"
        subprocess.run(
            [sys.executable, self.root / "old_names.py", str(script)],
            check=True, env={**os.environ, "OUT": str(self.root)}, cwd=self.root,
        )  # fmt: skip

    def codes(self, output: str = "out") -> dict[str, str]:
        with (self.root / output / "results.csv").open(encoding="utf-8-sig", newline="") as file:
            return {Path(row["input"]).name: row["code"] for row in csv.DictReader(file)}

    def copied(self, folder: str, count: int = 2) -> Path:
        target = self.root / folder
        target.mkdir(parents=True)
        for path in self.photographs[:count]:
            shutil.copy(path, target)
        return target


def case_folder_deletes(bench: Bench) -> str:
    inputs = bench.copied("in")
    bench.predict(inputs)
    case = sorted((bench.root / "out" / "cases").iterdir())[0]
    (case / "notes.txt").write_text("note")
    bench.predict(inputs, "--site", "ashford")
    assert (case / "notes.txt").read_text() == "note"
    victim = bench.root / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "thesis.tex").write_text("x")
    (bench.root / "out2" / "cases").mkdir(parents=True)
    (bench.root / "out2" / "cases" / case.name).symlink_to(victim)
    code, said = bench.predict(inputs, output="out2")
    assert sorted(path.name for path in victim.iterdir()) == ["sub", "thesis.tex"]
    assert code == 2
    assert "is a link" in said
    return "notes stay; the linked folder is refused"


def no_locks(bench: Bench) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler here")
    library = bench.root / "nolock.so"
    source = str(bench.case / "nolock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    code, said = bench.predict(bench.copied("in"), LD_PRELOAD=str(library))
    assert code in (0, 3), said
    assert said.count("has no locks") == 1
    return "answered without locks, said once"


def run_json_in_input(bench: Bench) -> str:
    inputs = bench.copied("in/sub").parent
    record = inputs / "sub" / "run.json"
    for number, make in enumerate(
        (
            lambda: os.mkfifo(record),
            lambda: record.symlink_to("/dev/zero"),
            lambda: record.write_text('{"tool": "offsite predict"}'),
            lambda: record.write_text("[" * 200_000),
        )
    ):
        record.unlink(missing_ok=True)
        make()
        code, said = bench.predict(inputs, output=f"out{number}")
        assert code in (0, 3), said
        names = set(bench.codes(f"out{number}"))
        assert {path.name for path in bench.photographs[:2]} <= names
    return "read within bounds; every photograph has its row"


def predict_tables(bench: Bench) -> str:
    bench.make()
    expected = {"same_name.csv": 2, "no_site.csv": 1, "one_blank.csv": 40, "cases.tsv": 1}
    for name, rows in expected.items():
        output = f"out-{name}"
        code, said = bench.predict(bench.root / name, "--site", "ashford", output=output)
        assert code in (0, 3), said
        with (bench.root / output / "results.csv").open(encoding="utf-8-sig") as file:
            assert len(list(csv.DictReader(file))) == rows, name
    code, said = bench.predict(bench.root / "cases.xlsx", output="out-xlsx")
    assert code == 2, said
    return "each table answered; a spreadsheet refused with its remedy"


def fifo_and_links(bench: Bench) -> str:
    inputs = bench.copied("in")
    os.mkfifo(inputs / "a.svs")
    (inputs / "b.jpg").symlink_to("/proc/kmsg")
    (inputs / "c.jpg").symlink_to("/proc/self/pagemap")
    with (inputs / "d.jpg").open("wb") as file:
        file.truncate(10 << 30)
    code, said = bench.predict(inputs, "--dry-run")
    assert code == 0, said
    code, said = bench.predict(inputs)
    assert code == 3, said
    codes = bench.codes()
    assert {name: codes[name] for name in ("a.svs", "b.jpg", "c.jpg", "d.jpg")} == {
        "a.svs": "unsupported",
        "b.jpg": "empty_file",
        "c.jpg": "empty_file",
        "d.jpg": "too_large",
    }
    return "a row each, at once"


CHECKS: dict[str, Callable[[Bench], str]] = {
    "case-folder-deletes": case_folder_deletes,
    "no-locks": no_locks,
    "run-json-in-input": run_json_in_input,
    "predict-tables": predict_tables,
    "fifo-and-links": fifo_and_links,
}


@pytest.fixture(scope="module", autouse=True)
def printed() -> Iterator[None]:
    """Print the table of all cases at the end."""
    yield
    if _table:
        widths = [max(len(row[column]) for row in _table) for column in range(3)]
        print()
        for row in sorted(_table):
            print(
                "  ".join(text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True))
            )


@pytest.mark.skipif(not FOLDERS, reason=f"no cases at {CASES} (set OFFSITE_CASES)")
@pytest.mark.parametrize("name", FOLDERS or ["none"])
def test_case(name: str, fundus_run: FundusRun, tmp_path: Path) -> None:
    case = CASES / name
    before = " ".join((case / "README.md").read_text(encoding="utf-8").split())[:90]
    if name not in CHECKS:
        _table.append((name, before, "", "no check here"))
        pytest.skip("no check of this case here")
    photographs = tuple(sorted(fundus_run.cohort.parent.rglob("*.jpg")))
    bench = Bench(tmp_path, case, fundus_run.package, photographs)
    try:
        after = CHECKS[name](bench)
    except BaseException as error:
        _table.append((name, before, str(error).split("\n")[0][:60], "FAILS"))
        raise
    _table.append((name, before, after, "right"))
