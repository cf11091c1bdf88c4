"""Cases of input that means something else than it says, and of faults that were found late."""

import os
import shutil
import signal
import subprocess
import sys
import time

from tests.workflows.cases.bench import Bench


def header_spelling(bench: Bench) -> str:
    bench.make()
    for table in ("cohort.csv", "space.csv"):
        bench.refused(
            "workflow", "check", bench.root / "job.yaml", "--set", f"cohort={table}",
            saying="train",
        )  # fmt: skip
    return "the column is read: nothing is left to train on, refused"


def label_spelling(bench: Bench) -> str:
    bench.make()
    said = "is another spelling of '"
    bench.refused("cohort", "check", bench.root / "cohort.csv", saying=said)
    for number, name in enumerate(("normal", "Normal", "NORMAL")):
        (bench.root / "folders" / "north" / name).mkdir(parents=True)
        shutil.copy(bench.photographs[number], bench.root / "folders" / "north" / name)
    words = ("cohort", "read", bench.root / "folders", "--layout", "class-folders")
    bench.refused(*words, "-o", bench.root / "read.csv", saying=said)
    return "two spellings of a class are refused, of folders too"


def yaml_key_twice(bench: Bench) -> str:
    bench.make()
    bench.refused("workflow", "check", bench.root / "job.yaml", saying="'splits' is there twice")
    return "refused by name and row"


def late_checks(bench: Bench) -> str:
    bench.make()
    for job, saying in (
        ("unknown_site", "nowhere"),
        ("no_cohort", "nosuch.csv"),
        ("one_class", "class"),
        ("slug", "Hopital-A"),
    ):
        bench.refused("workflow", "check", bench.root / f"{job}.yaml", saying=saying)
    return "all four refused by the check, before anything runs"


def patient_placeholder(bench: Bench) -> str:
    bench.make()
    for name in ("nan", "excel_na", "scientific", "unknown"):
        words = (
            "predict",
            bench.root / f"{name}.csv",
            "-m",
            bench.package,
            "-o",
            bench.root / name,
        )
        bench.refused(*words, saying="row 2, column 'patient'")
    return "a fault in column patient of each row; nobody is answered for another"


def eye_placeholder(bench: Bench) -> str:
    bench.make()
    for eye in ("OU", "both", "NA", "0"):
        table = bench.root / f"eye_{eye}.csv"
        words = ("predict", table, "-m", bench.package, "-o", bench.root / eye)
        bench.refused(*words, saying=f"row 2, column 'eye': '{eye}' is not an eye")
        text = table.read_text().replace(f",{eye}\n", ",left\n", 1)
        table.write_text(text)  # one good row: it is answered, the other is a row with its fault
        bench.predict(table, output=eye)
        assert list(bench.codes(eye).values())[1] == "faulty_row", eye
        assert "no_referral" not in bench.decisions(eye)
    return "an eye that is none is a fault of its row; no patient is cleared"


def braces(bench: Bench) -> str:
    bench.make()
    job = bench.root / "job.yaml"
    done = bench.offsite("workflow", "run", job, "--dry-run")
    assert done.returncode == 0, done.stderr[-300:]
    done = bench.offsite("workflow", "run", job, "--until", "prepare", seconds=240)
    assert done.returncode == 0, done.stderr[-300:]
    table = (bench.root / "results" / "prepared" / "prepared.csv").read_text(encoding="utf-8")
    line = next(line for line in table.splitlines() if "{A12}" in line)
    assert ",ok," in line
    return "planned to the end, and {A12}.jpg prepared by the workflow"


def two_trainings(bench: Bench) -> str:
    cohort = bench.photographs[0].parents[1] / "cohort.csv"
    settings = (
        f"task: retina\ncohort: {cohort}\nclasses: [none, mild, moderate, severe, proliferative]\n"
        "output: results\nsplits: {held_out_sites: [corran], val: 0.25, test: 0.2}\n"
        "preparation: {px: 48}\ntraining: {method: erm, backbone: {width: 8}, batch_size: 8,"
        " fit: {epochs: 200}}\ncells: {shards: 1}\n"
    )
    job = bench.root / "job.yaml"
    job.write_text(settings, encoding="utf-8")
    assert bench.offsite("workflow", "prepare", job).returncode == 0
    first = subprocess.Popen(
        [sys.executable, "-m", "offsite", "train", str(job)],
        cwd=bench.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 90
        while not list(bench.root.glob("results/runs/**/curves.jsonl")):
            assert time.monotonic() < until
            time.sleep(0.3)
        said = f"offsite train (process {first.pid}"
        bench.refused("train", job, "--set", "training.fit.epochs=2", saying=said)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    return "the second is told who holds the run"


def onboarding(bench: Bench) -> str:
    bench.make()
    words = ("site", "calibrate", bench.root / "local.csv", "-m", bench.package)
    done = bench.offsite(*words, "--site", "annex", "-o", bench.root / "annex")
    assert done.returncode == 0, done.stderr[-300:]
    profile = bench.record("annex/package")["profiles"]["annex"]
    assert profile["referral"] is not None
    assert profile["referral"]["inherited"]
    bench.predict(bench.root / "local.csv", model=bench.root / "annex" / "package")
    decisions = {row["decision"] for row in bench.rows()}
    assert decisions & {"refer", "urgent", "no_referral"}, decisions
    return "the threshold is inherited and marked; cases are answered"


def thumbnails(bench: Bench) -> str:
    bench.make()
    bench.predict(bench.root / "thumbs", "--site", "ashford")
    codes = bench.codes()
    tiny = [code for name, code in codes.items() if "_20px" in name]
    full = [code for name, code in codes.items() if "_full" in name]
    assert tiny
    assert set(tiny) == {"resolution_too_low"}
    assert "resolution_too_low" not in full
    return f"{len(tiny)} of {len(tiny)} at 20 px resolution_too_low, none at full size"


def two_eyes(bench: Bench) -> str:
    bench.make()
    bench.predict(bench.root / "pages", "--site", "ashford")
    codes = bench.codes()
    assert set(codes.values()) == {"several_fields"}, codes
    return f"{len(codes)} of {len(codes)} pages several_fields, none answered"
