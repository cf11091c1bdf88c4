"""Where a case is tried: an empty folder, packages, photographs, and the command."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Scripts of the cases import modules by the names they had when the cases were written.
OLD_NAMES = """
import importlib, importlib.abc, importlib.util, runpy, sys
class Old(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    rooms = ("preprocessing", "training", "evaluation", "pathology", "retina", "workflows")
    moved = {"preprocessing.synthetic.fundus": "preprocessing.synthetic.fundus.cohort",
             "preprocessing.synthetic.fundus_sites": "preprocessing.synthetic.fundus.sites",
             "preprocessing.synthetic.slides": "preprocessing.synthetic.slides.cohort"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.rooms:
            return importlib.util.spec_from_loader(name, self, is_package=True)
    def create_module(self, spec):
        return importlib.import_module("offsite." + self.moved.get(spec.name, spec.name))
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Old())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SECONDS = 120


@dataclass(frozen=True)
class Bench:
    """Where a case is tried.

    Attributes
    ----------
    root : Path
        An empty folder.
    case : Path
        The folder of the case.
    package : Path
        A small model of photographs.
    slides : callable
        Returns the package of a small model of slides.
    photographs : tuple of Path
        Photographs of the sites that the model was trained at.
    """

    root: Path
    case: Path
    package: Path
    slides: Callable[[], Path]
    photographs: tuple[Path, ...]

    def offsite(
        self, *words: object, seconds: int = SECONDS, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; one that is not done in time has code 124, as of ``timeout``."""
        call = [sys.executable, "-m", "offsite", *map(str, words)]
        try:
            return subprocess.run(
                call, capture_output=True, text=True, timeout=seconds, cwd=self.root,
                env={**os.environ, **environment},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(call, 124, "", f"not done in {seconds} s")

    def refused(self, *words: object, saying: str) -> None:
        """Run a command that must refuse its input in a sentence."""
        done = self.offsite(*words)
        assert done.returncode == 2, f"exit {done.returncode} {done.stderr[-200:]}"
        assert saying in done.stderr, done.stderr[-300:]
        assert "Traceback" not in done.stderr

    def predict(
        self, *words: object, output: str = "out", model: Path | None = None, **more: Any
    ) -> tuple[int, str]:
        """Return the exit code and standard error."""
        done = self.offsite(
            "predict", *words, "-m", model or self.package, "-o", self.root / output, **more
        )
        return done.returncode, done.stderr

    def make(self) -> str:
        """Run the case's script; return what it prints."""
        (self.root / "old_names.py").write_text(OLD_NAMES)
        return subprocess.run(
            [sys.executable, self.root / "old_names.py", str(self.case / "make.py")],
            check=True, capture_output=True, text=True, cwd=self.root,
            env={**os.environ, "OUT": str(self.root)},
        ).stdout  # fmt: skip

    def script(self, *words: object, seconds: int = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a script of the case in which the command is called ``offsite``."""
        shim = self.root / "bin" / "offsite"
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m offsite "$@"\n')
        shim.chmod(0o755)
        path = f"{shim.parent}:{os.environ['PATH']}"
        return subprocess.run(
            [*map(str, words)], capture_output=True, text=True, timeout=seconds, cwd=self.root,
            env={**os.environ, "PATH": path},
        )  # fmt: skip

    def rows(self, output: str = "out") -> list[dict[str, str]]:
        """Rows of results.csv."""
        file = self.root / output / "results.csv"
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return list(csv.DictReader(opened))

    def codes(self, output: str = "out") -> dict[str, str]:
        """The code of each input, by its name."""
        return {Path(row["input"]).name: row["code"] for row in self.rows(output)}

    def decisions(self, output: str = "out") -> list[str]:
        """The decisions of patients.csv."""
        file = self.root / output / "patients.csv"
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return [row["decision"] for row in csv.DictReader(opened)]

    def record(self, package: str) -> dict[str, Any]:
        """What a package below the folder says of itself."""
        text = (self.root / package / "model.json").read_text(encoding="utf-8")
        return dict(json.loads(text))

    def copied(self, folder: str, count: int = 2) -> Path:
        """Copy some photographs into a new folder."""
        target = self.root / folder
        target.mkdir(parents=True)
        for path in self.photographs[:count]:
            shutil.copy(path, target)
        return target
