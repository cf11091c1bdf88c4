"""A night's work: a thousand files, slides and photographs, sixty of them bad, some of them deadly.

Run by ``make night``, which prints what it measured. ``OFFSITE_NIGHT_FILES`` makes it smaller.
"""

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from offsite.children.limits import Limits
from offsite.training.prediction.contract import ModelAnswer, Predictor, Prepared
from offsite.training.prediction.items import Item
from offsite.workflows.package.folder import load_package
from offsite.workflows.predict.batch import BatchOptions, Outcome, run_batch
from offsite.workflows.predict.running import inputs_for, predictor_for
from tests.workflows import deadly
from tests.workflows.conftest import FundusRun, SlideRun
from tests.workflows.hostile import black_png
from tests.workflows.predict.test_predict_hostile import sixty_bad

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.environ.get("OFFSITE_NIGHT") != "1", reason="make night runs it"),
]
FILES = int(os.environ.get("OFFSITE_NIGHT_FILES", "1000"))
LIMITS = Limits(case_seconds=20, case_gib=0.25)
SLACK = 10.0  # seconds until the machine, which does other work too, has ended a process
WORKERS = 2


class InThreads:
    """A predictor that opens files in threads of this process, as it was before there were children."""

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner
        self.batch_size, self.concurrent = inner.batch_size, inner.concurrent

    def prepare(self, item: Item) -> Prepared:
        return self._inner.prepare(item)

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        return self._inner.infer(batch)

    def shrink(self) -> bool:
        return self._inner.shrink()

    def describe(self) -> dict[str, Any]:
        return self._inner.describe()


@dataclass
class Memory:
    """Bytes of this process and its children, twice a second."""

    of_parent: list[int] = field(default_factory=list)
    of_children: list[int] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        ended = threading.Event()
        process = psutil.Process()

        def look() -> None:
            while not ended.wait(0.5):
                self.of_parent.append(process.memory_info().rss)
                sizes = [0]
                for child in process.children(recursive=True):
                    try:
                        sizes.append(child.memory_info().rss)
                    except psutil.Error:
                        continue
                self.of_children.append(max(sizes))

        watch = threading.Thread(target=look)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()

    def growth(self) -> float:
        """The parent's largest size in the last third, of that in the middle one."""
        third = len(self.of_parent) // 3
        return max(self.of_parent[-third:]) / max(self.of_parent[third : 2 * third])


@dataclass
class Night:
    """One model over its files."""

    package: Path
    inputs: Path
    output: Path

    def run(self, *, threads: bool = False, output: Path | None = None, **options: Any) -> Outcome:
        package = load_package(self.package)
        predictor = predictor_for(package, "cpu")
        out = output or self.output
        inputs = inputs_for(package, [self.inputs], "ash", out)
        chosen = BatchOptions(output=out, workers=WORKERS, limits=LIMITS, **options)
        used = InThreads(predictor) if threads else predictor
        return run_batch(package, used, inputs, chosen, "cpu")

    def records(self) -> dict[str, dict[str, Any]]:
        lines = (self.output / "results.jsonl").read_text(encoding="utf-8").splitlines()
        return {Path(record["input"]).name: record for record in map(json.loads, lines)}

    def seconds(self) -> list[float]:
        files = self.output.glob("cases/*/case.json")
        return [json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in files]


def distinct(sources: Sequence[Path], folder: Path, count: int, comment: bool) -> None:
    """Copy files until there are so many; photographs get a comment, so that no two are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        source = sources[number % len(sources)]
        target = folder / f"good {number:04d}{source.suffix}"
        shutil.copy(source, target)
        if comment:
            content, text = target.read_bytes(), f"{number:08d}".encode()
            target.write_bytes(content[:2] + b"\xff\xfe\x00\x0a" + text + content[2:])


def photographs(run: FundusRun, folder: Path, count: int) -> Night:
    sources = sorted(run.cohort.parent.rglob("*.jpg"))[:40]
    large = folder / "large"
    large.mkdir()
    for source in sources:  # as large as a camera's, so that decoding is most of the work
        picture = cv2.resize(cv2.imread(str(source)), (1200, 1200), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(large / source.name), picture)
    distinct(sorted(large.iterdir()), folder / "photographs", count, comment=True)
    return Night(run.package, folder / "photographs", folder / "photographs-out")


def add_bad_photographs(folder: Path, sources: Sequence[Path]) -> dict[str, set[str]]:
    codes = sixty_bad(folder, list(sources))
    if os.geteuid() == 0:
        del codes["locked.jpg"]  # to the administrator it is a photograph
    for number in range(2):
        deadly.looping_dicom(folder / f"loop {number}.dcm")
        # 300 kB of file, 300 MB decoded
        (folder / f"hungry {number}.png").write_bytes(black_png(12_000 + number, 8_000))
        codes |= {f"loop {number}.dcm": {"timed_out"}, f"hungry {number}.png": {"out_of_memory"}}
    deadly.many_pages(folder / "pages of minutes.tif")
    deadly.sparse(folder / "sparse.jpg")
    deadly.pipe(folder / "another pipe.tif")
    (folder / "of the kernel.jpg").symlink_to("/proc/kmsg")
    codes |= {"pages of minutes.tif": {"unsupported"}, "sparse.jpg": {"too_large"}}
    return codes | {"another pipe.tif": {"unsupported"}, "of the kernel.jpg": {"empty_file"}}


def add_bad_slides(folder: Path, slide: Path) -> dict[str, set[str]]:
    codes: dict[str, set[str]] = {}
    for number in range(3):
        deadly.aborting_slide(folder / f"abort {number}.svs", slide)
        codes[f"abort {number}.svs"] = {"crashed"}
    content = slide.read_bytes()
    (folder / "cut.svs").write_bytes(content[: len(content) // 3])
    (folder / "letter.svs").write_text("This is no slide.\n" * 100)
    deadly.sparse(folder / "sparse.svs")
    deadly.pipe(folder / "pipe.svs")
    (folder / "nothing.svs").touch()
    codes |= {"cut.svs": {"unreadable"}, "letter.svs": {"unreadable"}}
    codes |= {"sparse.svs": {"unreadable"}, "pipe.svs": {"unsupported"}}
    return codes | {"nothing.svs": {"empty_file"}}


def measured(what: str, night: Night, codes: dict[str, set[str]], bad: int) -> None:
    """Do the night's work, look at every promise, and print what was measured."""
    memory, start = Memory(), time.monotonic()
    with memory.watched():
        outcome = night.run()
    took = time.monotonic() - start
    records = night.records()
    assert outcome.exit_code == 3
    assert len(records) == len(outcome.counts and list(outcome.records()))
    for name, right in codes.items():
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
        assert records[shown]["code"] in right, (name, records[shown]["code"])
    good = [record for name, record in records.items() if name.startswith("good ")]
    assert {record["status"] for record in good} <= {"ok", "review", "excluded"}
    assert "internal_error" not in {record["code"] for record in records.values()}
    longest = max(night.seconds())
    assert longest < LIMITS.case_seconds + SLACK
    assert max(memory.of_children) < (LIMITS.case_gib + 0.5) * 2**30
    assert memory.growth() < 1.1, memory.of_parent

    start = time.monotonic()
    again = night.run()
    second = time.monotonic() - start
    assert again.facts["inferred"] == 0, "the second run reads nothing that was read"
    failed = sum(record["status"] == "error" for record in records.values())
    retried = night.run(retry_failed=True)
    assert retried.facts["resumed"] >= len(records) - failed - bad
    assert retried.facts["inferred"] == 0
    print(
        f"\n{what}: {len(records)} rows in {took:.0f} s; without an answer"
        f" {dict(Counter(r['code'] for r in records.values() if r['status'] == 'error'))};"
        f" longest case {longest:.1f} s (limit {LIMITS.case_seconds:g}); second run {second:.1f} s;"
        f" parent at most {max(memory.of_parent) >> 20} MiB, last third {memory.growth():.3f} of the"
        f" middle one; largest child {max(memory.of_children) >> 20} MiB"
    )


def speeds(what: str, night: Night, folder: Path, most: int, repeats: int = 5) -> None:
    """Files per second of some good files, in children and in threads, in turn."""
    some = folder / f"some {what}"
    some.mkdir()
    for path in sorted(night.inputs.iterdir())[:most]:
        (some / path.name).hardlink_to(path)
    night = Night(night.package, some, night.output)
    pace: dict[bool, list[float]] = {False: [], True: []}
    for repeat in range(repeats):
        for threads in (False, True) if repeat % 2 else (True, False):
            start = time.monotonic()
            out = folder / f"speed {repeat} {threads}"
            outcome = night.run(threads=threads, output=out)
            pace[threads].append(
                sum(outcome.counts["status"].values()) / (time.monotonic() - start)
            )
            shutil.rmtree(out)
    ratios = [one / other for one, other in zip(pace[False], pace[True], strict=True)]
    print(
        f"\n{what}: {sorted(pace[False])[repeats // 2]:.1f} files/s in children,"
        f" {sorted(pace[True])[repeats // 2]:.1f} in threads, ratios"
        f" {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
    )


def test_a_night_of_photographs(fundus_run: FundusRun, tmp_path: Path) -> None:
    night = photographs(fundus_run, tmp_path, max(FILES * 9 // 10 - 60, 30))
    speeds("photographs", night, tmp_path, most=120)
    sources = sorted((tmp_path / "large").iterdir())
    codes = add_bad_photographs(night.inputs, sources)
    measured("photographs", night, codes, bad=len(codes))


def test_a_night_of_slides(slide_run: SlideRun, tmp_path: Path) -> None:
    slides = sorted((slide_run.cohort.parent / "slides").iterdir())
    distinct(slides, tmp_path / "slides", max(FILES // 10 - 8, 10), comment=False)
    night = Night(slide_run.package, tmp_path / "slides", tmp_path / "slides-out")
    speeds("slides", night, tmp_path, most=20)
    codes = add_bad_slides(night.inputs, slides[0])
    measured("slides", night, codes, bad=len(codes))
