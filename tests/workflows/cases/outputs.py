"""Cases of outputs, locks and what an input folder may hold."""

import csv
import os
import shutil
import subprocess

import pytest

from tests.workflows.cases.bench import Bench


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
