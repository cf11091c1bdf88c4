"""The command line: light to start, clear when refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflows.command import offsite

PROBE = """
import sys
from offsite.workflows.cli import app
try:
    app({arguments!r})
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = {{"torch", "mlflow", "monai", "albumentations", "pandas", "matplotlib"}} & set(sys.modules)
print("heavy:", sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stderr
    assert "Usage" in done.stdout


def test_only_what_trains_or_predicts_loads_torch() -> None:
    """A workflow starts some hundred of the others; torch alone takes each two seconds."""
    rooms = ("stages.images", "stages.evaluation", "stages.comparison", "stages.gate")
    imports = "".join(f", offsite.workflows.{name}" for name in (*rooms, "pipeline.running"))
    code = f"import sys{imports}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'offsite.workflows.stages.gate'" in done.stdout
    assert "'torch'" not in done.stdout


def test_unusable_input_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = offsite("cohort", "check", tmp_path / "none.csv")
    assert done.returncode == 2
    assert "there is no such table" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_cohort_check_counts_images_and_patients_per_site(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs", "c.svs"):
        (tmp_path / name).write_text(name)
    table = tmp_path / "cohort.csv"
    table.write_text(
        "image,patient,site,label\na.svs,p1,north,low\nb.svs,p1,north,high\nc.svs,p2,south,\n"
    )
    done = offsite("cohort", "check", table, "--no-pictures")
    assert done.returncode == 0, done.stderr
    opened = offsite("cohort", "check", table)  # each of them is a few letters
    assert opened.returncode == 3
    assert "3  unreadable" in opened.stdout
    assert opened.stdout.count("not a slide that can be read, or cut short") == 3
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["north", "2", "1", "1", "1", "0"], ["south", "1", "1", "0", "0", "1"],
    ]  # fmt: skip


def test_cohort_check_finds_a_leak_and_strict_mends_it(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs", "c.svs"):
        (tmp_path / name).write_text("the same bytes" if name != "c.svs" else name)
    table = tmp_path / "cohort.csv"
    table.write_text(
        "image,patient,site,label,split\na.svs,p1,north,low,train\n"
        "b.svs,p2,north,low,test\nc.svs,p3,north,high,train\n"
    )
    clean = tmp_path / "clean.csv"
    over = offsite("cohort", "check", table, "--strict", table)
    assert over.returncode == 2
    assert table.read_text().count("\n") == 4
    done = offsite("cohort", "check", table, "--no-pictures", "--strict", clean)
    assert done.returncode == 3, done.stderr
    assert "leak" in done.stdout
    assert "identical images in splits test and train: a.svs, b.svs" in done.stdout
    rows = clean.read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["b.svs", "c.svs"]
    again = offsite("cohort", "check", clean, "--no-pictures")
    assert again.returncode == 0, again.stdout
