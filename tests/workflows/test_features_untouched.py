"""Every command of the app on a job of features: the folder of features, and what is about, stays."""

from pathlib import Path

import pytest

from offsite.files import BOOKKEEPING
from tests.workflows.sown import LONG, Room, commands, state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DONE = (
    "workflow run", "workflow check", "workflow embed", "train", "evaluate", "compare", "workflow track",
    "model register", "cohort read", "cohort doubts", "predict", "site calibrate", "site sums",
    "site join", "site leave", "patient find", "patient forget",
)  # fmt: skip
REFUSED = ("workflow tile", "encoder twins", "encoder vocabulary")


def test_every_command_leaves_folders_of_features_as_they_were(tmp_path: Path) -> None:
    """Copied, read only and linked; with files of others in every folder that offsite writes to."""
    room = Room("features", tmp_path / "job")
    room.make()
    root = room.root
    read = [root / name for name in ("features", "elsewhere-features", "north", "cohort")]
    for folder in [each for top in read for each in (top, *top.rglob("*")) if each.is_dir()]:
        if not folder.is_symlink():
            (folder / "sown.h5").write_bytes(b"\x89HDF\r\n\x1a\nother tool")
            (folder / "sown notes.txt").write_text("notes")
    before = _of_others(state([*read, root / "north.csv", root / "clam.csv"]))
    codes = {}
    kept: list[Path] = []
    for name, command in commands().items():
        if name in LONG:
            continue
        codes[name] = room.call(name, command)
        if name == "model register":
            room.keep_package()
            kept = _sow(root / "results")
        assert _of_others(state([*read, root / "north.csv", root / "clam.csv"])) == before, name
        assert all(path.read_bytes() == b"another's" for path in kept), name
    assert {name: codes[name] for name in DONE if codes[name] not in (0, 3)} == {}
    assert {name: codes[name] for name in REFUSED} == dict.fromkeys(REFUSED, 2)


def _of_others(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """All but the lock that a command leaves beside the cohort that it rewrites."""
    return {
        path: what for path, what in found.items() if not Path(path).name.startswith(BOOKKEEPING)
    }


def _sow(output: Path) -> list[Path]:
    """Put a file of somebody into every folder of the results but packages, which hold what is signed alone."""
    packages = {found.parent for found in output.rglob("SHA256SUMS")}
    below = (path for path in output.rglob("*") if path.is_dir())
    folders = [output, *(path for path in below if not packages & {path, *path.parents})]
    files = [folder / "sown.npy" for folder in folders]
    for file in files:
        file.write_bytes(b"another's")
    return files
