"""No command removes or changes what others put beside or in place of its results.

Every command of the app is called in a job of each room. What it writes is found by looking, so that
a new command, or a new file of an old one, is covered by itself.
"""

import json
import os
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from offsite.written import LIST
from tests.workflows.sown import (
    IN_PROCESSES,
    LONG,
    Room,
    commands,
    files_of,
    is_ours_by_name,
    state,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# A copy of a package appears whole under a new name, and a page under its own: of two at once the
# second is refused, or is the same.
OF_ROOM = {
    "retina": {"workflow prepare", "cohort check"},
    "pathology": {"workflow tile", "workflow embed", "encoder twins", "cohort check"},
    "features": {"workflow embed", "cohort doubts", "patient forget", "site sums", "site join"},
}
WITHOUT_LOCK = ("model export", "workflow report")


@dataclass
class Learned:
    """What each command wrote in a job done once, and the job's folder before and after."""

    room: Room
    kept: Path
    wrote: dict[str, list[str]] = field(default_factory=dict)
    locked: dict[str, bool] = field(default_factory=dict)

    def restore(self, when: str) -> None:
        shutil.rmtree(self.room.root)
        shutil.copytree(self.kept / when, self.room.root, symlinks=True)


@pytest.fixture(scope="module", params=["retina", "pathology", "features"])
def learned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    folder = tmp_path_factory.mktemp(request.param)
    done = Learned(Room(request.param, folder / "job"), folder / "kept")
    done.room.make()
    for name, command in commands().items():
        if name in LONG or name in IN_PROCESSES:
            continue
        before = files_of(done.room.root)
        shutil.copytree(done.room.root, done.kept / name, symlinks=True)
        code = done.room.call(name, command)
        assert code in (0, 1, 2, 3, 4), name
        after = files_of(done.room.root)
        if name == "model register":
            done.room.keep_package()
        changed = [path for path in after if before.get(path) != after[path]]
        done.wrote[name] = [path for path in changed if not _passed_over(path)]
        done.locked[name] = any("lock" in Path(path).name for path in changed)
    shutil.copytree(done.room.root, done.kept / "all", symlinks=True)
    return done


def _passed_over(path: str) -> bool:
    # The store of MLflow is a database, which is written in place and made only where none is.
    return (
        is_ours_by_name(Path(path))
        or "mlartifacts" in path
        or Path(path).name.startswith("mlflow.db")
    )


def test_the_commands_did_their_work(learned: Learned) -> None:
    expected = {"train", "evaluate", "compare", "model register", "predict", "cohort read",
                "model export", "site calibrate"} | OF_ROOM[learned.room.task]  # fmt: skip
    writing = {name for name, paths in learned.wrote.items() if paths}
    assert expected <= writing


def test_whatever_writes_holds_a_lock(learned: Learned) -> None:
    writing = {name for name, paths in learned.wrote.items() if paths} - set(WITHOUT_LOCK)
    assert {name for name in writing if not learned.locked[name]} == set()


def _kinds(paths: list[str]) -> list[list[str]]:
    """The paths by kind: of one folder, and alike but for the image or case that they are of."""
    alike = defaultdict(list)
    for path in sorted(paths):
        alike[re.sub(r"[^/]*\d[^/.]*(?=[/.])", "N", path)].append(path)
    return list(alike.values())


def _spread(kinds: list[list[str]], most: int) -> list[list[str]]:
    """Not all kinds, where one place in the code serves all of them."""
    return kinds[:: max(1, -(-len(kinds) // most))]


def _put(path: Path, what: str, elsewhere: Path) -> Path:
    """Put somebody's file, link or folder at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "file":
        path.write_bytes(b"a year's work")
        path.chmod(0o640)
    elif what == "link":
        path.symlink_to(elsewhere / "thesis.tex")
    else:
        path.mkdir(mode=0o750)
        (path / "project.json").write_text("{}")
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    (folder / "cases").mkdir(parents=True)
    (folder / "thesis.tex").write_text("x")
    (folder / "cases" / "note.txt").write_text("y")
    return folder


@pytest.mark.parametrize(("what", "most"), [("file", 1000), ("link", 4), ("folder", 4)])
def test_what_stands_where_a_result_would_go_stays(
    learned: Learned, elsewhere: Path, what: str, most: int
) -> None:
    faults = []
    for name, command in commands().items():
        wrote = learned.wrote.get(name, [])
        new = [path for path in wrote if not os.path.lexists(learned.kept / name / path)]
        for kind in _spread(_kinds(new), most):
            learned.restore(name)
            sown = _put(learned.room.root / kind[0], what, elsewhere)
            before = state([sown, elsewhere])
            code = learned.room.call(name, command)
            if state([sown, elsewhere]) != before:
                faults.append((name, kind[0], code))
    assert not faults, "\n".join(map(str, faults))


def test_a_link_in_place_of_a_result_stays(learned: Learned, elsewhere: Path) -> None:
    """All is done, the settings change, and a result was moved away and linked to."""
    faults = []
    for name, command in commands().items():
        left = [
            path for path in learned.wrote.get(name, []) if (learned.kept / "all" / path).exists()
        ]
        for kind in _spread(_kinds(left), 5):  # a patient's withdrawal takes what others wrote
            learned.restore("all")
            learned.room.job(changed=True)
            path = learned.room.root / kind[0]
            moved = elsewhere / "moved"
            shutil.copy(path, moved)
            path.unlink()
            path.symlink_to(moved)
            before = state([path, elsewhere])
            code = learned.room.call(name, command)
            if state([path, elsewhere]) != before:
                faults.append((name, kind[0], code))
    assert not faults, "\n".join(map(str, faults))


def test_a_result_that_somebody_changed_stays(learned: Learned, elsewhere: Path) -> None:
    """Of tables, pages and pictures that stand alone: those that the lists of the folders name."""
    faults = []
    tried = 0
    for name, command in commands().items():
        for kind in _kinds(learned.wrote.get(name, [])):
            relative = kind[0]
            if not _is_listed(learned.kept / "all" / relative):
                continue
            learned.restore("all")
            learned.room.job(changed=True)
            path = learned.room.root / relative
            path.write_bytes(path.read_bytes() + b"seen by Dr A\n")
            before = state([path])
            code = learned.room.call(name, command)
            tried += 1
            if state([path]) != before:
                faults.append((name, relative, code))
    assert not faults, "\n".join(map(str, faults))
    assert tried > 5


def _is_listed(path: Path) -> bool:
    try:
        lines = (path.parent / LIST).read_text().splitlines()
    except FileNotFoundError:
        return False
    return path.name in {json.loads(line)[1] for line in lines}


def test_what_lies_beside_the_results_stays(learned: Learned, elsewhere: Path) -> None:
    learned.restore("all")
    learned.room.job(changed=True)
    sown = []
    root = learned.room.root
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in ("sown notes.txt", "sown.h5", "sown.npy", "sown.csv", "sown.json"):
            (folder / name).write_bytes(b"\x89HDF\r\n\x1a\nother tool")
            (folder / name).chmod(0o640)
        (folder / "sown qupath").mkdir(mode=0o750)
        (folder / "sown qupath" / "project.json").write_text("{}")
        (folder / "sown link").symlink_to(elsewhere / "thesis.tex")
        (folder / "sown folder").symlink_to(elsewhere / "cases")
        sown += [path for path in folder.iterdir() if path.name.startswith("sown")]
    before = state([*sown, elsewhere])
    assert len(before) > 100
    for name, command in commands().items():
        if name in LONG or name == "workflow report":
            continue
        code = learned.room.call(name, command)
        after = state([*sown, elsewhere])
        changed = {path for path in before if after.get(path) != before[path]}
        assert not changed, f"offsite {name} (exit {code})"
