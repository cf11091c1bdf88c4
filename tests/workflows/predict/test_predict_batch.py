"""The batch engine with a real small model: a row for each input, resume, memory, parts, stops."""

import csv
import json
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from offsite.errors import InputError
from offsite.training.prediction.contract import ModelAnswer, Prepared
from offsite.training.prediction.items import Item
from offsite.workflows.package.folder import Package
from tests.workflows.tiny import TinyPredictor, photographs, predict, tiny_package


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return tiny_package(tmp_path_factory.mktemp("model") / "package")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    photographs(folder, 20)
    return folder


@pytest.fixture(params=["device", "processor"], autouse=True)
def concurrent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The engine infers in one thread beside those that prepare, or in these."""
    in_threads = bool(request.param == "processor")
    monkeypatch.setattr(TinyPredictor, "concurrent", in_threads)
    return in_threads


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


class Counting(TinyPredictor):
    """Counts what it really does."""

    def __init__(self, package: Package) -> None:
        super().__init__(package)
        self.prepared: list[str] = []
        self.batches: list[int] = []

    def prepare(self, item: Item) -> Prepared:
        self.prepared.append(item.path.name)
        return super().prepare(item)

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        self.batches.append(len(batch))
        return super().infer(batch)


def test_one_row_for_each_input_with_the_model_s_own_numbers(
    package: Package, images: Path, tmp_path: Path
) -> None:
    outcome = predict(package, [images], tmp_path / "out")
    assert outcome.exit_code == 0
    rows = rows_of(tmp_path / "out")
    assert [Path(row["input"]).name for row in rows] == sorted(p.name for p in images.iterdir())
    model = TinyPredictor(package)
    for row, path in zip(rows, sorted(images.iterdir()), strict=True):
        (finding,) = model.infer([model.prepare(Item(path=path, name="", case=""))])
        wanted = torch.softmax(torch.from_numpy(finding.logits).double(), 0).numpy()
        answered = [float(row[f"prob_{name}"]) for name in package.record.classes]
        assert np.allclose(answered, wanted, atol=1e-6)
        assert row["model_sha256"] == package.digest
        assert row["notice"].startswith("Research use only")
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["case"] for line in lines] == [row["case"] for row in rows]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["status"], record["counts"]["status"]) == ("done", {"ok": 20})


def test_a_second_run_redoes_only_what_changed(
    package: Package, images: Path, tmp_path: Path
) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(images, inputs)
    predict(package, [inputs], out)
    before = (out / "results.csv").read_bytes()
    again = Counting(package)
    predict(package, [inputs], out, again)
    assert again.prepared == []
    assert (out / "results.csv").read_bytes() == before

    names = sorted(path.name for path in inputs.iterdir())
    shutil.copy(inputs / names[1], inputs / names[0])  # other content under an old name
    cases = {row["input"]: out / "cases" / row["case"] for row in rows_of(out)}
    (cases[str(inputs / names[5])] / "thumb.jpg").unlink()
    (cases[str(inputs / names[6])] / "case.json").write_text('{"case": ')
    changed = Counting(package)
    predict(package, [inputs], out, changed)
    assert sorted(changed.prepared) == [names[0], names[5], names[6]]
    assert rows_of(out)[1]["duplicate_of"] == rows_of(out)[0]["case"]

    other = Counting(package)
    predict(package, [inputs], out, other, site="south")
    assert len(other.prepared) == 20
    model = tiny_package(tmp_path / "model", name="another")
    third = Counting(model)
    predict(model, [inputs], out, third, site="south")
    assert len(third.prepared) == 20


def test_out_of_memory_halves_the_batch_and_only_the_culprit_fails(
    package: Package, images: Path, tmp_path: Path
) -> None:
    class Small(Counting):
        def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
            heavy = any(prepared.facts["heavy"] for prepared in batch)
            if len(batch) > 2 or heavy:
                self.batches.append(len(batch))
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().infer(batch)

        def prepare(self, item: Item) -> Prepared:
            prepared = super().prepare(item)
            prepared.facts["heavy"] = item.number == 7
            return prepared

    predictor = Small(package)
    outcome = predict(package, [images], tmp_path / "out", predictor)
    assert outcome.exit_code == 3
    codes = [row["code"] for row in rows_of(tmp_path / "out")]
    assert codes[6] == "out_of_memory"
    assert Counter(codes) == {"ok": 19, "out_of_memory": 1}
    assert outcome.facts["memory_halvings"] > 0
    mended = Counting(package)
    assert predict(package, [images], tmp_path / "out", mended).exit_code == 0
    assert len(mended.prepared) == 1, "what was not the input's fault is tried again"


def test_a_fault_of_the_program_is_one_row_and_names_nobody_in_the_log(
    package: Package, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Faulty(TinyPredictor):
        def prepare(self, item: Item) -> Prepared:
            if item.number == 3:
                raise KeyError(f"no such key for {item.name}")
            return super().prepare(item)

    outcome = predict(package, [images], tmp_path / "out", Faulty(package), json_log=True)
    assert outcome.exit_code == 3
    row = rows_of(tmp_path / "out")[2]
    assert (row["status"], row["code"], row["decision"]) == (
        "error", "internal_error", "human_review",
    )  # fmt: skip
    log = capsys.readouterr().err
    events = [json.loads(line) for line in log.splitlines()]
    assert [e["code"] for e in events if e["event"] == "case" and e["number"] == 3] == [
        "internal_error"
    ]
    assert "photo" not in log
    assert str(images) not in log


def test_never_more_inputs_in_flight_than_the_window(
    package: Package, tmp_path: Path, concurrent: bool
) -> None:
    many = photographs(tmp_path / "in", 120)

    class Watched(TinyPredictor):
        def __init__(self, package: Package) -> None:
            super().__init__(package)
            self.alive, self.most, self.lock = 0, 0, threading.Lock()

        def prepare(self, item: Item) -> Prepared:
            with self.lock:
                self.alive += 1
                self.most = max(self.most, self.alive)
            return super().prepare(item)

        def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
            with self.lock:
                self.alive -= len(batch)
            return super().infer(batch)

    watched = Watched(package)
    predict(package, many, tmp_path / "out", watched, workers=3)
    batches = 2 + (3 + 1 if concurrent else 1)  # prepared ahead; being inferred or waiting for it
    assert watched.most <= 3 + batches * watched.batch_size + 1
    assert len(rows_of(tmp_path / "out")) == 120


def test_an_interrupted_run_leaves_valid_results_and_goes_on(
    package: Package, images: Path, tmp_path: Path
) -> None:
    class Interrupted(Counting):
        def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
            if len(self.batches) == 1:
                raise KeyboardInterrupt
            return super().infer(batch)

    out = tmp_path / "out"
    outcome = predict(package, [images], out, Interrupted(package))
    assert outcome.exit_code == 130
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    statuses = Counter(row["status"] for row in rows_of(out))
    assert statuses == {"ok": 8, "pending": 12}
    assert all(r["decision"] != "no_referral" for r in rows_of(out) if r["status"] == "pending")
    rest = Counting(package)
    assert predict(package, [images], out, rest).exit_code == 0
    assert len(rest.prepared) == 12
    whole = tmp_path / "whole"
    predict(package, [images], whole)
    assert without_the_hour(rows_of(whole)) == without_the_hour(rows_of(out))


def without_the_hour(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows but for when each was answered, which alone may differ between two runs."""
    assert all(row["answered_at"] for row in rows)
    return [{name: cell for name, cell in row.items() if name != "answered_at"} for row in rows]


def test_fail_fast_stops_early(package: Package, images: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.touch()
    inputs: list[Path] = [bad, *sorted(images.iterdir())]
    outcome = predict(package, inputs, tmp_path / "out", fail_fast=True)
    assert outcome.exit_code == 3
    rows = rows_of(tmp_path / "out")
    assert rows[0]["code"] == "empty_file"
    assert rows[-1]["status"] == "pending"


def test_parts_share_the_work_and_a_last_run_gathers_it(
    package: Package, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    counts = []
    for part in ("1/3", "2/3", "3/3"):
        outcome = predict(package, [images], out, part=part)
        counts.append(len(rows_of(outcome.folder)))
    assert counts == [7, 7, 6]
    last = Counting(package)
    predict(package, [images], out, last)
    assert last.prepared == []
    assert len(rows_of(out)) == 20
    assert (out / "index.html").exists()
    for part in ("0/3", "4/3", "a/b", "1"):
        with pytest.raises(InputError, match="not a part"):
            predict(package, [images], out, part=part)


def test_another_s_folder_is_left_alone(package: Package, images: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InputError, match=r"thesis\.docx"):
        predict(package, [images], tmp_path)


def test_a_full_disk_ends_the_run_and_not_a_case(
    package: Package, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offsite.workflows.predict.output import case_files

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(case_files, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        predict(package, [images], tmp_path / "out")
    record: dict[str, Any] = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "failed"


def test_what_is_left_out_is_said_on_the_worklist_and_in_the_record(
    package: Package, tmp_path: Path
) -> None:
    photographs(tmp_path / "in", 2)
    (tmp_path / "in" / ".hidden.png").touch()
    outcome = predict(package, [tmp_path / "in"], tmp_path / "out")
    assert outcome.left_out == "Left out: 1 hidden files"
    assert f"{outcome.left_out}." in (tmp_path / "out" / "index.html").read_text()
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["files_ignored"], record["left_out"]) == (1, outcome.left_out)
