"""Cases of decoding and of trust, told as they stand."""

import re
import subprocess
import sys

import pytest

from tests.workflows.cases.bench import Bench


def damaged_slide(bench: Bench) -> str:
    slides = bench.root / "in"
    slides.mkdir()
    (slides / "abort.tiff").write_bytes((bench.case / "abort.tiff").read_bytes())
    code, said = bench.predict(slides, model=bench.slides())
    assert code == 3, f"exit {code} {said[-80:]}"
    assert bench.codes() == {"abort.tiff": "crashed"}
    return "a row (crashed), exit 3"


def dicom_loops(bench: Bench) -> str:
    inputs = bench.copied("in")
    (inputs / "loop.dcm").write_bytes((bench.case / "dicom_hang.dcm").read_bytes())
    code, said = bench.predict(inputs, "--case-seconds", 10)
    assert code == 3, f"exit {code} {said[-80:]}"
    codes = bench.codes()
    assert codes.pop("loop.dcm") == "timed_out"
    assert len(codes) == 2
    assert not {"timed_out", "crashed"} & set(codes.values())
    return "a row (timed_out), the rest answered"


def slow_pictures(bench: Bench) -> str:
    inputs = bench.copied("in")
    for script, words in (
        ("progressive_bomb.py", (inputs / "bomb.jpg", 8000, 300)),
        ("tiff_chain.py", (inputs / "chain.tif", 60_000)),
    ):
        call = [sys.executable, str(bench.case / script), *map(str, words)]
        subprocess.run(call, check=True, capture_output=True)
    code, said = bench.predict(inputs, "--case-seconds", 10)
    assert code == 3, f"exit {code} {said[-80:]}"
    codes = bench.codes()
    assert (codes["bomb.jpg"], codes["chain.tif"]) == ("timed_out", "unsupported")
    return "timed_out after 10 s, and unsupported at once"


def changed_while_read(bench: Bench) -> str:
    one, other = bench.photographs[0], bench.photographs[1]
    (bench.root / "race" / "in").mkdir(parents=True)
    script = bench.case / "toctou.py"
    done = bench.script(sys.executable, script, one, other, bench.package, bench.root / "race")
    answers: dict[str, set[str]] = {}
    for digest, probability in re.findall(r"\('([AB])', [^,]*, ([\d.-]+)", done.stdout):
        answers.setdefault(digest, set()).add(probability)
    assert answers, done.stderr[-200:]
    assert all(len(values) == 1 for values in answers.values()), answers
    return "one answer for each digest"


def permissions(bench: Bench) -> str:
    bounded = "-dac_override,-dac_read_search,-fowner"
    limits = ["setpriv", f"--inh-caps={bounded}", f"--bounding-set={bounded}"]
    done = bench.script(*limits, "bash", bench.case / "run.sh", bench.photographs[0], bench.package)
    assert "Traceback" not in done.stderr
    assert re.findall(r"exit (\d)", done.stdout) == ["2", "2"], done.stdout[-200:]
    return "a sentence and exit 2, twice"


def pictures(bench: Bench) -> str:
    bench.make()
    bench.predict(bench.root / "pictures", "--site", "ashford")
    codes = bench.codes()
    bad = {"unreadable", "damaged", "no_field_of_view", "not_an_image", "unsupported"}
    wrong = {name: code for name, code in codes.items() if code in bad and name != "phone.heic"}
    assert not wrong, wrong
    assert len(codes) == 6
    return "read; HEIC has a row of its own"


def dicom_photograph(bench: Bench) -> str:
    bench.make()
    done = bench.offsite("workflow", "prepare", bench.root / "job.yaml", "--set", "splits={}")
    table = (bench.root / "results" / "prepared" / "prepared.csv").read_text(encoding="utf-8")
    assert ",ok," in table, f"exit {done.returncode}: {table.splitlines()[-1][:80]}"
    return "prepared for training as predict reads it"


def dicom_flat_folder(bench: Bench) -> str:
    said = bench.make().splitlines()
    assert said[-1] == "same", said
    return "; ".join(said)


def evaluate_constant(bench: Bench) -> str:
    words = (
        "evaluate",
        bench.case / "constant.parquet",
        "--settings",
        bench.case / "settings.yaml",
    )
    done = bench.offsite(*words, "-o", bench.root / "out")
    assert done.returncode == 0, done.stderr[-200:]
    text = re.sub(r"<[^>]+>", " ", (bench.root / "out" / "report.html").read_text(encoding="utf-8"))
    assert re.search(r"same (answer|for every)", text), "the report does not say so"
    return "a report that says that all get the same answer"


def needs_a_server(bench: Bench) -> str:
    pytest.skip("needs a finished job, a registry and a server: make server tries it")
