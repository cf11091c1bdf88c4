"""No command removes or changes what others put beside its results. Every command of the app is tried."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import typer
import yaml
from typer.testing import CliRunner

from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.workflows.cli import app

# What to write for a required parameter, by its name; see `Place.value`. A command with a parameter
# that is not here fails: say here what it takes.
VALUES = {
    "config": "job.yaml",
    "job": "job.yaml",
    "source": "RUN",
    "runs": "RUN",
    "run": "RUN",
    "folder": "cohort",
    "inputs": "cohort/images",
    "images": "cohort/images",
    "model": "RUN/package",
    "package": "RUN/package",
    "models": "RUN/package",
    "output": "out",
    "out": "out",
    "target": "out",
    "cohort": "cohort/cohort.csv",
    "table": "cohort/cohort.csv",
    "path": "cohort/cohort.csv",
    "file": "cohort/cohort.csv",
}
TEXTS = {
    "because": "the sites were looked at by hand",
    "encoder": "structure",
    "site": CLINICS[0].name,
    "name": "small",
    "layout": "csv",
    "classes": ",".join(GRADES),
}
# These call the commands below one after the other, in processes of their own, for minutes.
LONG = ("demo", "workflow run")


def commands() -> dict[str, click.Command]:
    def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
        if inner := getattr(command, "commands", None):
            for part, below in inner.items():
                yield from leaves(below, f"{name} {part}".strip())
        else:
            yield name, command

    return dict(leaves(typer.main.get_command(app), ""))


@dataclass
class Place:
    root: Path
    run: Path | None = None

    def value(self, parameter: click.Parameter) -> str:
        name = parameter.name or ""
        if name in VALUES:
            relative = VALUES[name].replace("RUN", str(self.run or "no-run"))
            return str(self.root / relative)
        if name in TEXTS:
            return TEXTS[name]
        raise AssertionError(f"say in VALUES or TEXTS what '{name}' takes")

    def call(self, name: str, command: click.Command) -> int:
        words = name.split()
        for parameter in command.params:
            if not parameter.required:
                continue
            if parameter.param_type_name == "option":
                words += [parameter.opts[0], self.value(parameter)]
            else:
                words.append(self.value(parameter))
        return CliRunner().invoke(app, words).exit_code

    def job(self, **more: object) -> None:
        settings = {
            "task": "retina", "cohort": "cohort/cohort.csv", "classes": list(GRADES),
            "output": "results", "preparation": {"px": 32},
            "splits": {"held_out_sites": [CLINICS[2].name], "val": 0.3, "test": 0.2},
            "training": {"method": "erm", "backbone": {"width": 8}, "batch_size": 8,
                         "fit": {"epochs": 1}},
            "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}},
        }  # fmt: skip
        (self.root / "job.yaml").write_text(yaml.safe_dump(settings | more))


def sow(root: Path, elsewhere: Path) -> None:
    """Put a file, a folder with a file, and links to both elsewhere into every folder."""
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("x")
    (elsewhere / "cases").mkdir()
    (elsewhere / "cases" / "note.txt").write_text("y")
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / "sown notes.txt").write_text("seen by Dr A")
        (folder / "sown notes.txt").chmod(0o640)
        (folder / "sown qupath").mkdir(mode=0o750)
        (folder / "sown qupath" / "project.json").write_text("{}")
        (folder / "sown.h5").write_bytes(b"\x89HDF\r\n\x1a\nother tool")
        (folder / "sown.npy").write_bytes(b"other tool")
        (folder / "sown link").symlink_to(elsewhere / "thesis.tex")
        (folder / "sown folder").symlink_to(elsewhere / "cases")


def state(*roots: Path) -> dict[str, tuple[object, ...]]:
    """Bytes, modes and link targets of what was sown."""
    known: dict[str, tuple[object, ...]] = {}
    for root in roots:
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = Path(folder) / name
                if "sown" not in str(path.relative_to(root.parent)):
                    continue
                mode = path.lstat().st_mode
                if path.is_symlink():
                    known[str(path)] = ("link", str(path.readlink()))
                elif path.is_dir():
                    known[str(path)] = ("folder", mode)
                else:
                    known[str(path)] = ("file", mode, path.read_bytes())
    return known


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A job done once; then its settings change, so that every stage has something to clear."""
    root = tmp_path_factory.mktemp("job") / "job"
    cohort = SyntheticFundusSettings(clinics=CLINICS[:3], patients_per_site=8, px=72, graders=False)
    make_fundus_cohort(root / "cohort", cohort, workers=1)
    place = Place(root)
    place.job()
    config = str(root / "job.yaml")
    for words in (["prepare", config], ["train", config]):
        assert CliRunner().invoke(app, words).exit_code == 0, words
    place.run = next((root / "results" / "runs").rglob("run.json")).parent.relative_to(root)
    run = root / place.run
    assert CliRunner().invoke(app, ["register", str(run)]).exit_code == 0
    words = ["predict", str(root / "cohort" / "images"), "-m", str(run / "package")]
    assert CliRunner().invoke(app, [*words, "-o", str(root / "out")]).exit_code in (0, 3)
    shutil.copytree(run / "package", root / "package")
    place.job(preparation={"px": 40})
    return place


@pytest.mark.slow
def test_no_command_touches_what_is_not_offsites(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "sown elsewhere"
    sow(place.root, elsewhere)
    before = state(place.root, elsewhere)
    assert len(before) > 100
    tried = []
    for name, command in commands().items():
        if name.startswith(LONG):
            continue
        code = place.call(name, command)
        after = state(place.root, elsewhere)
        changed = {path for path in before if after.get(path) != before[path]}
        assert not changed, f"offsite {name} (exit {code})"
        tried.append(name)
    assert {"prepare", "train", "evaluate", "predict", "register"} <= {
        name.split()[-1] for name in tried
    }
    # A second prediction for another site writes every case anew.
    words = ["predict", str(place.root / "cohort" / "images"), "-m", str(place.root / "package")]
    CliRunner().invoke(app, [*words, "-o", str(place.root / "out"), "--site", CLINICS[0].name])
    assert state(place.root, elsewhere) == before
