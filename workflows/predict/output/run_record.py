"""``run.json``: what ran, with what, and how it ended; written at the start and at the end."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from offsite.files import file_digest, in_the_way, is_plain_file, read_json, write_json
from offsite.training.prediction.codes import NOTICE
from offsite.training.run_folder import versions

RECORD = "run.json"
TOOL = "offsite predict"
_ALWAYS = {"status", "started", "finished", "software"}
_LARGEST = 16 << 20


class RunRecord:
    """The record of one run in ``folder``.

    ``status`` is ``running``, ``done``, ``interrupted`` or ``failed``; a file that still says
    ``running`` belongs to a run that was killed.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self._file = folder / RECORD
        self._content: dict[str, Any] = {
            "tool": TOOL,
            "notice": NOTICE,
            "status": "running",
            "started": now(),
            "finished": None,
            "software": version("offsite"),
            "versions": versions(),
            "machine": {"system": platform.system(), "processor": platform.machine()},
            **facts,
        }
        write_json(self._file, self._content)

    def finish(self, status: str, tables: Sequence[str] = (), **facts: Any) -> None:
        """Write how the run ended, and the digests of its tables."""
        folder = self._file.parent
        facts["written"] = {
            name: file_digest(folder / name) for name in tables if (folder / name).is_file()
        }
        write_json(self._file, {**self._content, "status": status, "finished": now(), **facts})


def is_ours(folder: Path) -> bool:
    """Whether a folder holds the output of an earlier run."""
    record = read_record(folder)
    return record is not None and record["tool"] == TOOL and record.keys() >= _ALWAYS


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``run.json``; None where there is none, or it is no record.

    Folders come from anywhere: what is called ``run.json`` may be a pipe, a link to a device or
    endless brackets, and is read only as far as one of ours would go.
    """
    file = folder / RECORD
    try:
        if not is_plain_file(file) or file.stat().st_size > _LARGEST:
            return None
        record = read_json(file)
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and "tool" in record else None


def check_unchanged(folder: Path) -> None:
    """Refuse to overwrite tables that somebody changed since a run wrote them to its end.

    Raises
    ------
    InputError
        Code ``not_ours``, naming the first.
    """
    record = read_record(folder) or {}
    if record.get("status") == "running":  # killed: its tables may be newer than its record
        return
    for name, digest in dict(record.get("written") or {}).items():
        path = folder / Path(name).name
        if path.is_symlink() or (path.exists() and file_digest(path) != digest):
            raise in_the_way(path)


def counts_of(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Count cases by status, code and decision."""
    counters: dict[str, Counter[str]] = {
        name: Counter() for name in ("status", "code", "decision", "copies")
    }
    for record in records:
        for name in ("status", "code", "decision"):
            counters[name][str(record[name])] += 1
        if record["duplicate_of"]:
            counters["copies"][record["status"]] += 1
    return {name: dict(sorted(counter.items())) for name, counter in counters.items()}


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
