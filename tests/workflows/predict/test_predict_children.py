"""Files that end what opens them: a row each, the rest answered, and the next run knows them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from offsite.children.limits import Limits
from offsite.workflows.package.folder import load_package
from offsite.workflows.predict.batch import BatchOptions, Outcome, run_batch
from offsite.workflows.predict.inputs.listing import find_inputs
from offsite.workflows.predict.output.journal import DEATHS
from offsite.workflows.predict.running import inputs_for, predict, predictor_for
from tests.workflows import deadly
from tests.workflows.conftest import FundusRun, SlideRun
from tests.workflows.hostile import black_png

LIMITS = Limits(case_seconds=2.5, case_gib=0.15)
ANSWERED = {"ok", "review", "excluded"}


def rows_of(output: Path) -> dict[str, dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return {Path(row["input"]).name: row for row in csv.DictReader(file)}


def record_of(output: Path, name: str) -> dict[str, object]:
    case = rows_of(output)[name]["case"]
    return dict(json.loads((output / "cases" / case / "case.json").read_text()))


@pytest.fixture
def inputs(fundus_run: FundusRun, tmp_path: Path) -> Path:
    """Six photographs of eyes among files that loop, eat memory, wait, and are far too large."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in sorted(fundus_run.cohort.parent.rglob("*.jpg"))[:6]:
        shutil.copy(path, folder)
    deadly.looping_dicom(folder / "a loop.dcm")
    (folder / "b large.png").write_bytes(black_png(12_000, 8_000))  # 300 kB
    deadly.many_pages(folder / "c pages.tif")
    deadly.sparse(folder / "d sparse.jpg")
    deadly.pipe(folder / "e pipe.jpg")
    return folder


def run(run: FundusRun, inputs: Path, output: Path, **options: object) -> Outcome:
    chosen = {"workers": 2, "limits": LIMITS, **options}
    return predict(
        [inputs], str(run.package), BatchOptions(output=output, **chosen), site="ash", device="cpu"
    )  # type: ignore[arg-type]


def test_each_ends_as_a_row_and_the_next_run_reads_none_of_them_again(
    fundus_run: FundusRun, inputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(fundus_run, inputs, out).exit_code == 3
    rows = rows_of(out)
    codes = {name: row["code"] for name, row in rows.items() if not name.endswith("jpg")}
    assert codes == {
        "a loop.dcm": "timed_out",
        "b large.png": "out_of_memory",
        "c pages.tif": "unsupported",
    }
    assert rows["d sparse.jpg"]["code"] == "too_large"
    assert rows["e pipe.jpg"]["code"] == "unsupported"
    assert "--case-seconds" in rows["a loop.dcm"]["reasons"]
    assert "--case-gib" in rows["b large.png"]["reasons"]
    assert sum(row["status"] in ANSWERED for row in rows.values()) >= 6
    assert not list(out.glob(".offsite-reading"))
    assert json.loads((out / "run.json").read_text())["limits"] == LIMITS.model_dump()

    start = time.monotonic()
    again = run(fundus_run, inputs, out)
    assert again.facts["inferred"] == 0
    assert time.monotonic() - start < LIMITS.case_seconds, "nothing was waited for again"
    same = {name: row for name, row in rows_of(out).items() if name != "e pipe.jpg"}
    assert same == {name: rows[name] for name in same}, "but for the pipe, which costs nothing"
    more = run(fundus_run, inputs, out, limits=Limits(case_seconds=3, case_gib=0.15))
    assert more.facts["resumed"] == again.facts["resumed"] - 1, "with more time one is tried again"
    assert record_of(out, "a loop.dcm")["limits"] == {"case_seconds": 3, "case_gib": 0.15}
    failed = sum(row["status"] == "error" for row in rows.values())
    once_more = run(fundus_run, inputs, out, retry_failed=True)
    assert once_more.facts["resumed"] == again.facts["resumed"] - failed


def test_a_slide_that_crashes_its_reader_is_a_row_with_what_the_library_said(
    slide_run: SlideRun, tmp_path: Path
) -> None:
    slides = sorted((slide_run.cohort.parent / "slides").iterdir())
    (tmp_path / "in").mkdir()
    shutil.copy(slides[0], tmp_path / "in")
    deadly.aborting_slide(tmp_path / "in" / "z.svs", slides[0])
    options = BatchOptions(output=tmp_path / "out", workers=2)
    outcome = predict([tmp_path / "in"], str(slide_run.package), options, device="cpu")
    assert outcome.exit_code == 3
    rows = rows_of(tmp_path / "out")
    assert rows[slides[0].name]["status"] in ANSWERED
    assert (rows["z.svs"]["code"], "SIGABRT" in rows["z.svs"]["reasons"]) == ("crashed", True)
    assert "failed to allocate" in str(record_of(tmp_path / "out", "z.svs")["detail"])


def test_an_input_with_which_runs_were_killed_goes_last_and_in_the_end_is_left(
    fundus_run: FundusRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = load_package(fundus_run.package)
    photographs = sorted(fundus_run.cohort.parent.rglob("*.jpg"))[:6]
    found = find_inputs(photographs, site="ash")
    first, second = found.items[:2]
    journal = tmp_path / "out" / ".offsite-reading"
    journal.mkdir(parents=True)
    (journal / first.case).write_text("0")
    (journal / second.case).write_text(str(DEATHS - 1))
    (journal / "of another part").write_text("0")

    def events(**options: object) -> list[tuple[int, str]]:
        chosen = BatchOptions(output=tmp_path / "out", json_log=True, **options)  # type: ignore[arg-type]
        run_batch(package, predictor_for(package, "cpu", 1), found, chosen)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        return [(line["number"], line["code"]) for line in lines if line["event"] == "case"]

    told = events(workers=1)
    assert {number for number, _ in told[-2:]} == {1, 2}
    assert dict(told)[2] == "crashed"
    assert dict(told)[1] != "crashed"
    assert "--retry-failed" in rows_of(tmp_path / "out")[second.path.name]["reasons"]
    assert [path.name for path in journal.iterdir()] == ["of another part"]
    assert dict(events(workers=1, retry_failed=True))[2] != "crashed"


def test_what_is_hashed_is_what_is_decoded(fundus_run: FundusRun, tmp_path: Path) -> None:
    one, other = sorted(fundus_run.cohort.parent.rglob("*.jpg"))[:2]
    contents = (one.read_bytes(), other.read_bytes())
    (tmp_path / "in").mkdir()
    names = [tmp_path / "in" / f"{number:02d}.jpg" for number in range(40)]
    for name in names:
        name.write_bytes(contents[0])
    stop = threading.Event()

    def flip() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            for name in names:
                (tmp_path / "next").write_bytes(contents[turn % 2])
                (tmp_path / "next").replace(name)

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        run(fundus_run, tmp_path / "in", tmp_path / "out")
    finally:
        stop.set()
        flipping.join()
    answers: dict[str, set[str]] = {}
    for row in rows_of(tmp_path / "out").values():
        answers.setdefault(row["input_sha256"], set()).add(row["referable_probability"])
    assert len(answers) == 2, "both were seen"
    assert all(len(values) == 1 for values in answers.values()), answers


def test_a_slide_that_is_replaced_while_it_is_read_is_read_again_later(
    slide_run: SlideRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = sorted((slide_run.cohort.parent / "slides").iterdir())[:2]
    (tmp_path / "in").mkdir()
    slide = Path(shutil.copy(one, tmp_path / "in"))
    package = load_package(slide_run.package)
    predictor = predictor_for(package, "cpu")
    read = predictor.prepare

    def replaced(item: object) -> object:
        prepared = read(item)  # type: ignore[arg-type]
        shutil.copy(other, tmp_path / "new")
        (tmp_path / "new").replace(slide)
        return prepared

    monkeypatch.setattr(predictor, "prepare", replaced)
    options = BatchOptions(output=tmp_path / "out")
    found = inputs_for(package, [tmp_path / "in"], "ash", tmp_path / "out")
    run_batch(package, predictor, found, options)
    (row,) = rows_of(tmp_path / "out").values()
    assert (row["code"], row["prediction"]) == ("read_failed", "")
    assert "changed while it was read" in row["reasons"]
    monkeypatch.setattr(predictor, "prepare", read)
    assert run_batch(package, predictor, found, options).counts["status"].keys() <= ANSWERED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_end_waits_for_no_file(
    fundus_run: FundusRun, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        deadly.looping_dicom(tmp_path / "in" / f"{name}.dcm")
    process = subprocess.Popen(
        [sys.executable, "-m", "offsite", "predict", str(tmp_path / "in"), "-m",
         str(fundus_run.package), "-o", str(tmp_path / "out"), "--device", "cpu"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/.offsite-reading/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)  # far less than the 120 s of a case
    assert process.returncode == 130, said
    assert {row["code"] for row in rows_of(tmp_path / "out").values()} == {"not_reached"}
    assert not list(tmp_path.glob("out/.offsite-reading")), "no file is suspected"
