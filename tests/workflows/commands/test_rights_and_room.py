"""No right, no room, a read-only disk, a log that cannot be written: a sentence and exit 2."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.preprocessing.fundus.reading import read_photograph
from offsite.preprocessing.readers.pictures import fault_of_slide
from offsite.preprocessing.slides.opening import open_slide
from offsite.workflows import cli
from tests.workflows.conftest import FundusRun

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own belong to who runs it."""
    made = Path(tempfile.mkdtemp(prefix="offsite-rights-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be an ordinary user for a while: to the administrator, permissions mean nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str]:
    """Run the command in this process; return its exit code and standard error."""
    monkeypatch.setattr(sys, "argv", ["offsite", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0), capsys.readouterr().err


def photographs(run: FundusRun, folder: Path, count: int) -> list[Path]:
    paths = [
        Path(shutil.copy(path, folder)) for path in sorted(run.cohort.parent.rglob("*.jpg"))[:count]
    ]
    for path in paths:
        path.chmod(0o644)
    return paths


def test_what_may_not_be_written_or_read_is_a_sentence(
    fundus_run: FundusRun,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = shutil.copytree(fundus_run.package, folder / "package")
    (photograph,) = photographs(fundus_run, folder, 1)
    closed, read_only = folder / "closed", folder / "read-only"
    for made in (closed, read_only):
        made.mkdir()
    shutil.copy(photograph, closed / "b.jpg")
    (folder / "cohort.csv").write_text(
        f"image,patient,site,label\nclosed/b.jpg,p1,s,x\n{photograph.name},p2,s,y\n"
    )
    closed.chmod(0)
    read_only.chmod(0o555)
    warm = ("predict", photograph, "-m", package, "-o", folder / "warm", "--device", "cpu")
    command(monkeypatch, capsys, *warm)  # everything is imported from here on
    with as_nobody():
        written = command(
            monkeypatch, capsys, "predict", photograph, "-m", package, "-o", read_only / "out",
            "--device", "cpu",
        )  # fmt: skip
        checked = command(monkeypatch, capsys, "cohort", "check", folder / "cohort.csv")
        code, said = command(
            monkeypatch, capsys, "predict", closed / "b.jpg", photograph, "-m", package, "-o",
            folder / "out", "--device", "cpu", "--workers", 1,
        )  # fmt: skip
    assert written[0] == 2
    assert "you may not read or write this. Get the right" in written[1]
    assert (checked[0], "you may not look for 'closed/b.jpg'" in checked[1]) == (2, True)
    assert code == 3, said
    assert "permission_denied" in (folder / "out" / "results.csv").read_text()


def test_an_image_that_may_not_be_read_says_so_in_every_room(folder: Path) -> None:
    locked = folder / "locked.tiff"
    locked.write_bytes(b"II*\x00" + bytes(100))
    locked.chmod(0)
    inside = folder / "closed" / "b.tiff"
    inside.parent.mkdir()
    shutil.copy(locked, inside)
    inside.parent.chmod(0)
    with as_nobody():
        for path in (locked, inside):
            for read in (open_slide, lambda path: read_photograph(path, 64)):
                with pytest.raises(InputError) as caught:
                    read(path)
                assert caught.value.code == "permission_denied"
            assert fault_of_slide(path, None).startswith("you may not read")


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "offsite-test", place]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def test_a_full_disk_is_a_sentence_and_the_next_run_goes_on(
    fundus_run: FundusRun,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "in").mkdir()
    photographs(fundus_run, folder / "in", 12)
    with small_disk(folder / "disk", "150k") as disk:
        words = ("predict", folder / "in", "-m", fundus_run.package, "-o", disk / "out",
                 "--device", "cpu", "--workers", 2, "--site", "x")  # fmt: skip
        code, said = command(monkeypatch, capsys, *words)
        assert (code, "no room left" in said) == (2, True), said
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        code, said = command(monkeypatch, capsys, *words)
        assert code == 0, said
        assert len((disk / "out" / "results.jsonl").read_text().splitlines()) == 12
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        code, said = command(monkeypatch, capsys, *words, "--no-resume")
        assert (code, "ead-only" in said) == (2, True), said


def test_a_log_that_cannot_be_written_ends_no_run(fundus_run: FundusRun, folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    (folder / "in").mkdir()
    photographs(fundus_run, folder / "in", 3)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "offsite", "predict", folder / "in", "-m", fundus_run.package,
             "-o", folder / "out", "--device", "cpu", "--site", "x"],
            stderr=full, stdout=subprocess.PIPE, text=True, timeout=200,
        )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.strip() == str(folder / "out" / "index.html")
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["log_lost"] == "No space left on device"
    assert len((folder / "out" / "results.jsonl").read_text().splitlines()) == 3
