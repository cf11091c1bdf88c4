"""The folder of one training run: what it was made from, whether it is finished, what is stale."""

import contextlib
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from offsite.errors import InputError
from offsite.files import (
    BOOKKEEPING,
    changed_file,
    digest_of,
    file_digest,
    read_json,
    write_json,
)
from offsite.ownership import refuse_link, remove_named

RECORD = "run.json"
EXCLUDED = "excluded.csv"
SUMS = "sums.safetensors"  # of the rows that a linear head was fitted to
# What later stages read of a finished run; its record holds their digests.
RESULTS = (
    "splits.parquet",
    "weights.safetensors",
    SUMS,
    EXCLUDED,
    "predictions.parquet",
    "embeddings.npy",
    "logits.npy",
    "trunk.npy",
)
OUT_OF_FOLD = "out_of_fold"
"""Folder, in the run of a refit, of what the folds' models say of patients whom they had not seen."""
OUT_OF_FOLD_FILES = ("predictions.parquet", "logits.npy")
NUISANCES = "nuisances.parquet"  # what the images show of their cameras; a later stage writes it
OWNED = (
    *RESULTS,
    NUISANCES,
    "settings.json",
    "draws.json",
    "curves.jsonl",
    "fit.json",
    "configuration.json",
    "cell.json",
    RECORD,
)
# The status in excluded.csv of images that are predicted all the same.
NOT_TRAINED_ON = "not_trained_on"
OWNED_FOLDERS = ("checkpoint", "evaluation", "package", OUT_OF_FOLD)
CHECKPOINT_FILE = re.compile(r"checkpoint\.json|state-\d+-\d+\.safetensors|best-\d+\.safetensors")
# The files of a package and the record of an evaluation, which other rooms write into the folder.
PACKAGE_FILES = (
    "model.json",
    "weights.safetensors",
    "reference.npz",
    "card.md",
    "SHA256SUMS",
    "SIGNATURE",
)
EVALUATED = "evaluation.json"
PACKAGES = ("offsite", "torch", "numpy", "pandas", "scikit-learn", "openslide-python", "monai")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunFolder:
    """One run on disk. It is the same run as long as its inputs and settings are the same.

    ``run.json`` holds ``status`` (``running`` or ``done``), ``key`` (digest of ``inputs``),
    ``inputs``, ``versions``, ``started`` and, once done, ``finished``, ``facts`` and ``files``: the
    digests of its results. Times are in UTC.

    Parameters
    ----------
    path : path
        The folder; made when the run begins.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def begin(self, inputs: dict[str, Any]) -> bool:
        """Say whether there is work to do, and clear away a run of other inputs.

        Parameters
        ----------
        inputs : dict
            JSON-able: settings, seeds and digests of everything the result depends on.

        Returns
        -------
        bool
            False if the folder holds the finished run of the same inputs, whole. True otherwise:
            either afresh, or to go on where a killed run of the same inputs stopped, or to make
            again what is damaged.

        Raises
        ------
        InputError
            The folder holds files that are not a run's: nothing is deleted there.
        """
        key = digest_of(inputs)
        record = self.record()
        if record is None:
            self._check_empty()
        elif record["key"] != key:
            self.clear()
        elif record["status"] == "done" and self.damaged() is None:
            return False
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(
            self.path / RECORD,
            {
                "status": "running",
                "key": key,
                "inputs": inputs,
                "versions": versions(),
                "started": self._started(record, key),
            },
        )
        return True

    def finish(self, **facts: Any) -> None:
        """Mark the run as done, with what is worth telling about it (JSON-able)."""
        record = self.record()
        if record is None:
            raise RuntimeError("a run is finished that never began")
        present = [name for name in RESULTS if (self.path / name).is_file()]
        files = {name: file_digest(self.path / name) for name in present}
        done = {"status": "done", "facts": facts, "files": files, "finished": _now()}
        write_json(self.path / RECORD, {**record, **done})

    def add(self, names: Sequence[str], facts: Mapping[str, Any]) -> None:
        """Count further files (relative names) among the results of a finished run, and tell facts."""
        record = self.record()
        if record is None or record["status"] != "done":
            raise RuntimeError("results are added to a run that is not finished")
        files = {**record["files"], **{name: file_digest(self.path / name) for name in names}}
        told = {**record["facts"], **facts}
        write_json(self.path / RECORD, {**record, "files": files, "facts": told})

    @staticmethod
    def _started(record: dict[str, Any] | None, key: str) -> str:
        """When the run began, also where it goes on after it was killed."""
        goes_on = record is not None and record["key"] == key and record["status"] == "running"
        return str(record.get("started") or _now()) if record is not None and goes_on else _now()

    def record(self) -> dict[str, Any] | None:
        """Return the content of ``run.json``, or None where no run has begun."""
        file = self.path / RECORD
        return read_json(file) if file.exists() else None

    def damaged(self) -> str | None:
        """Return the name of a result that is not as the finished run wrote it, or None."""
        return changed_file(self.path, (self.record() or {}).get("files", {}))

    def clear(self) -> None:
        """Remove what a run writes, by name, and nothing else; run.json last.

        A clearing that is cut short begins anew. What others put beside it stays.

        Raises
        ------
        InputError
            A folder of the run is a link.
        """
        refuse_link(self.path)
        for name in OWNED_FOLDERS:
            refuse_link(self.path / name)
        _remove_checkpoint_files(self.path / "checkpoint")
        _remove_evaluation(self.path / "evaluation")
        remove_named(self.path / "package", PACKAGE_FILES)
        remove_named(self.path / OUT_OF_FOLD, OUT_OF_FOLD_FILES)
        for name in OWNED_FOLDERS:
            _remove_if_empty(self.path / name)
        remove_named(self.path, OWNED)

    def _check_empty(self) -> None:
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        present = [name for name in names if not name.startswith(BOOKKEEPING)]
        # run.json is the first file of a run and the last that is cleared: what stands there
        # without one, by whatever name, is not of a run.
        foreign = sorted(set(present) - set(OWNED_FOLDERS))
        if foreign:
            raise InputError(
                f"the folder holds other files ({', '.join(foreign[:5])})",
                file=self.path,
                remedy="Name a new or empty folder for the run",
            )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide numbers."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _remove_checkpoint_files(folder: Path) -> None:
    names = [file.name for file in folder.glob("*") if CHECKPOINT_FILE.fullmatch(file.name)]
    remove_named(folder, names)


def _remove_evaluation(folder: Path) -> None:
    """Remove an evaluation by its record; of the runs before, and with nothing left to measure."""
    record = folder / EVALUATED
    if not record.is_file():
        return
    facts = read_json(record)
    refuse_link(folder / "figures")
    figures = [f"figures/{file.name}" for file in (folder / "figures").glob("*.svg")]
    named = facts.get("written") or [*facts.get("files", {}), "report.html", *figures]
    remove_named(folder, named)
    for each in (folder / "figures", folder):
        left = [file.name for file in each.iterdir()] if each.is_dir() else []
        if all(name == EVALUATED or name.startswith(BOOKKEEPING) for name in left):
            remove_named(each, left)
        _remove_if_empty(each)
    if not folder.is_dir():
        return
    # What others put there stays, and the next evaluation writes beside it.
    write_json(record, {"status": "cleared", "written": []})


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
