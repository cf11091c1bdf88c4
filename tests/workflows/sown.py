"""A job of each room in a folder, and every command of the app called on it; for the sown folders."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
import typer
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.files import BOOKKEEPING
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import (
    SyntheticSlideSettings,
    make_slide_cohort,
    make_twin_cohort,
)
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.workflows.cli import app
from tests.workflows import feature_folders

# What a parameter takes, by its name: a path below the folder of the job, or a text. A command with
# a required parameter that is not here fails: say here what it takes.
PATHS = {
    "config": "job.yaml",
    "source": "RUN",
    "runs": "RUN",
    "run": "RUN",
    "inputs": "cohort/cohort.csv",
    "model": "package",
    "cohort": "cohort/unlabelled.csv",
    "table": "cohort/cohort.csv",
    "output": "out/COMMAND",
    "strict": "out/strict.csv",
    "package": "package",
    "key": "signing.pem",
    "files": "out/site-sums/sums.npz",
    "rules": "gate.yaml",
    "features": "features",
}
TEXTS = {
    "because": "the sites were looked at by hand",
    "encoder": "structure",
    "site": "SITE",
    "layout": "class-folders",
    "prevalence": "0.2",
    "patients": "20",
    "draws": "2",
    "patient": "PATIENT",
    "words": "256",  # of so few tiles as many as there are: fewer keep too little, and are refused
}
# Of these options the commands write more.
ASKED_FOR = ("output", "strict", "geojson", "yes", "pictures")
OWN_VALUES = {
    ("cohort read", "source"): "folders",
    ("cohort read", "output"): "out/read.csv",
    ("workflow report", "output"): "out/page.html",
    ("encoder twins", "cohort"): "twins/cohort.csv",
    ("site sums", "cohort"): "cohort/cohort.csv",
    ("evaluate", "runs"): "RUN",
    ("model plan-gate", "draws"): "2",
    ("encoder vocabulary", "words"): "256",
    ("compare", "inputs"): "job.yaml",
}
# Of a job of features: a hospital with cases of its own, which the run has not seen.
OF_FEATURES = {
    ("site sums", "cohort"): "north.csv",
    ("site sums", "features"): "north",
    ("site sums", "site"): "north",
    ("site calibrate", "cohort"): "north.csv",
    ("site calibrate", "features"): "north",
    ("site calibrate", "site"): "north",
    ("cohort read", "layout"): "clam",
    ("cohort read", "source"): "clam.csv",
    ("cohort read", "site_column"): "source",
}
# Only tables of predictions take a folder there; of a run and a job the place is known.
LEFT_OUT = {("evaluate", "output"), ("compare", "output")}
FIRST = (
    "workflow prepare", "workflow tile", "workflow embed", "train", "evaluate", "compare",
    "workflow track", "model register",
)  # fmt: skip
# The first call commands of this list in processes of their own; the others go on for minutes.
IN_PROCESSES = ("workflow run", "workflow report")
LONG = ("demo pathology", "demo retina", "demo features", "model serve")


def commands() -> dict[str, click.Command]:
    """Every command of the app, those first on which others build."""

    def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
        if inner := getattr(command, "commands", None):
            for part, below in inner.items():
                yield from leaves(below, f"{name} {part}".strip())
        else:
            yield name, command

    found = dict(leaves(typer.main.get_command(app), ""))
    ordered = {name: found[name] for name in FIRST}
    ordered |= dict(sorted(found.items(), key=lambda entry: entry[1].hidden))
    by_function: dict[object, tuple[str, click.Command]] = {}
    for name, command in ordered.items():  # some have two names
        function = getattr(command.callback, "__code__", command.callback)
        by_function.setdefault(getattr(command.callback, "__wrapped__", function), (name, command))
    return dict(by_function.values())


@dataclass(frozen=True)
class Room:
    """A job of one room in ``root``."""

    task: str
    root: Path

    @property
    def sites(self) -> list[str]:
        if self.task == "features":
            return ["east", "west", "held"]
        return [each.name for each in (SITES if self.task == "pathology" else CLINICS)[:3]]

    @property
    def patient(self) -> str:
        """The last one, who stays in the table of unlabelled images whatever is forgotten."""
        return str(pd.read_csv(self.root / "cohort" / "unlabelled.csv")["patient"].iloc[-1])

    def make(self) -> None:
        """Make cohort and job, and a few pictures in class folders, or tables of another tool."""
        cohort = self.root / "cohort"
        if self.task == "features":
            feature_folders.make_hospitals(self.root)
            self._key_and_job()
            return
        if self.task == "pathology":
            slides = SyntheticSlideSettings(
                sites=SITES[:3], patients=15, slides_per_patient=(1, 1), width_um=380,
                height_um=380, class_shares=(1, 1, 1), artefacts=False, tissue_share=0.7,
            )  # fmt: skip
            make_slide_cohort(cohort, slides, workers=1)
            make_twin_cohort(self.root / "twins", slides, tissues=2, workers=1)
        else:
            small = SyntheticFundusSettings(
                clinics=CLINICS[:3], patients_per_site=8, px=72, graders=False
            )
            make_fundus_cohort(cohort, small, workers=1)
        images = sorted((cohort / ("slides" if self.task == "pathology" else "images")).iterdir())
        for name, image in zip("ab", images, strict=False):
            (self.root / "folders" / "north" / name).mkdir(parents=True)
            shutil.copy(image, self.root / "folders" / "north" / name)
        self._key_and_job()

    def _key_and_job(self) -> None:
        cohort = self.root / "cohort"
        key = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (self.root / "signing.pem").write_bytes(key)
        table = pd.read_csv(cohort / "cohort.csv", dtype=str, keep_default_na=False)
        table.assign(label="").to_csv(cohort / "unlabelled.csv", index=False)
        self.job()

    def job(self, *, changed: bool = False) -> None:
        """Write the job; ``changed``: with settings by which every stage has to work anew."""
        settings: dict[str, object] = {
            "task": "retina" if self.task == "retina" else "pathology",
            "cohort": "cohort/cohort.csv", "output": "results",
            "splits": {"held_out_sites": [self.sites[2]], "val": 0.3, "test": 0.2},
            "evaluation": {
                "metrics": {"resamples": 90 if changed else 100, "calibration_simulations": 50}
            },
            "cells": {"shards": 1},
        }  # fmt: skip
        if self.task == "pathology":
            settings |= {
                "classes": list(CLASSES),
                "tiles": {"tile_px": 128, "min_tissue": 0.4 if changed else 0.3},
                "encoder": {"tile_px": 128},
                "training": {"fit": {"epochs": 1}, "batch_size": 4, "instances": 16},
            }
        elif self.task == "features":
            settings |= {
                "classes": list(feature_folders.CLASSES),
                "features": {
                    "folder": "features",
                    "encoder": {"name": "external", "label": feature_folders.LABEL},
                },
                "training": {"method": "linear", "linear": {"folds": 4 if changed else 3}},
            }
        else:
            settings |= {
                "classes": list(GRADES),
                "preparation": {"px": 40 if changed else 32},
                "training": {"method": "erm", "backbone": {"width": 8}, "batch_size": 8,
                             "fit": {"epochs": 1}},
            }  # fmt: skip
        (self.root / "job.yaml").write_text(yaml.safe_dump(settings))
        (self.root / "gate.yaml").write_text("rules: [{rule: minimum_n, patients: 5}]\n")

    def words(self, name: str, command: click.Command) -> list[str]:
        """A command with all that it needs, and the options by which it writes more."""
        words = name.split()
        for parameter in command.params:
            given = parameter.name or ""
            wanted = given in ASKED_FOR or (name, given) in OWN_VALUES
            if self.task == "features":
                wanted |= given == "features" or (name, given) in OF_FEATURES
            wanted &= (name, given) not in LEFT_OUT
            wanted |= name.startswith("model ") and given == "model"
            if not parameter.required and not wanted:
                continue
            if getattr(parameter, "is_flag", False):
                words.append(parameter.opts[0])
                continue
            if parameter.param_type_name == "option":
                words.append(parameter.opts[0])
            words.append(self._value(name, given))
        return words

    def _value(self, command: str, name: str) -> str:
        if self.task == "features" and (command, name) in OF_FEATURES:
            value = OF_FEATURES[command, name]
            return value if name in ("site", "layout", "site_column") else str(self.root / value)
        if name in TEXTS:
            named = TEXTS[name].replace("SITE", self.sites[0])
            return named.replace("PATIENT", self.patient) if "PATIENT" in named else named
        relative = OWN_VALUES.get((command, name), PATHS.get(name))
        assert relative is not None, f"say in PATHS or TEXTS what '{name}' of '{command}' takes"
        if relative == "RUN":
            runs = [file.parent for file in (self.root / "results").rglob("run.json")]
            return str(runs[0] if runs else self.root / "no-run")
        return str(self.root / relative.replace("COMMAND", command.replace(" ", "-")))

    def call(self, name: str, command: click.Command) -> int:
        """Return the exit code, which the program makes of a refusal too."""
        done = CliRunner().invoke(app, self.words(name, command))
        return 2 if isinstance(done.exception, InputError) else done.exit_code

    def keep_package(self) -> None:
        """Copy the package of the run to where commands are told that the model is."""
        package = next((self.root / "results").rglob("SHA256SUMS")).parent
        shutil.copytree(package, self.root / "package")


def is_ours_by_name(path: Path) -> bool:
    """Whether a file is a lock or list of offsite, or of Snakemake's own."""
    return path.name.startswith(BOOKKEEPING) or ".snakemake" in path.parts or path.suffix == ".lock"


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file below a folder, by its path relative to it."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            facts = path.lstat()
            found[str(path.relative_to(root))] = (facts.st_ino, facts.st_mtime_ns)
    return found


def state(paths: list[Path]) -> dict[str, tuple[object, ...]]:
    """Bytes, modes and link targets of paths and of all below them."""
    known: dict[str, tuple[object, ...]] = {}
    inner = [
        each
        for path in paths
        if path.is_dir() and not path.is_symlink()
        for each in path.rglob("*")
    ]
    for path in (*paths, *inner):
        if not os.path.lexists(path):
            continue
        mode = path.lstat().st_mode
        if path.is_symlink():
            known[str(path)] = ("link", str(path.readlink()))
        elif path.is_dir():
            known[str(path)] = ("folder", mode)
        else:
            known[str(path)] = ("file", mode, path.read_bytes())
    return known
