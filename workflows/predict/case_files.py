"""The folder of each case, and how a later run knows that it need not be done again."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing.files import digest_of, fingerprint, read_json, write_bytes, write_json
from workflows.predict.codes import PASSING
from workflows.predict.inputs import Item
from workflows.predict.pictures import THUMB_PX, jpeg, shrunk

RECORD = "case.json"
VIEW, THUMB = "image.jpg", "thumb.jpg"
# A change here redoes every case: what is written, or how it is decided, became another.
FORMAT = 3


class CaseFiles:
    """The folders of all cases under ``<output>/cases``.

    ``case.json`` is written last: a folder that has it is whole. Its ``key`` is a digest of the
    content of the input, the model, the settings and what a table says of the input.

    Parameters
    ----------
    output : Path
        Folder of the run.
    settings : dict
        JSON-able; everything but the input that the result depends on.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.root = output / "cases"
        self._settings = digest_of({"format": FORMAT, **settings})

    def folder(self, item: Item) -> Path:
        """Return where the case of an input lives."""
        return self.root / item.case

    def key(self, item: Item, content: str) -> str:
        """Return what the result of an input depends on, as one digest."""
        facts = [item.name, item.patient, item.site, item.eye, item.mpp]
        return digest_of([self._settings, content, facts, surroundings_of(item)])

    def read(self, item: Item) -> dict[str, Any] | None:
        """Return the record of a case as it stands on disk, whatever it was made from."""
        try:
            record = read_json(self.folder(item) / RECORD)
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and record.get("case") == item.case else None

    def current(self, item: Item, key: str) -> dict[str, Any] | None:
        """Return the record if it is of this key, whole, and worth keeping."""
        record = self.read(item)
        if record is None or record.get("key") != key or record.get("code") in PASSING:
            return None
        folder = self.folder(item)
        whole = all((folder / name).is_file() for name in record["files"].values())
        return record if whole else None

    def write(
        self,
        item: Item,
        record: dict[str, Any],
        view: np.ndarray | None,
        save: Callable[[Path], dict[str, str]] | None,
    ) -> dict[str, Any]:
        """Write a case afresh; returns the record with the names of its files."""
        folder = self.folder(item)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).unlink(missing_ok=True)  # from here on the case counts as undone
        files: dict[str, str] = {}
        if view is not None:
            write_bytes(folder / VIEW, jpeg(view))
            write_bytes(folder / THUMB, jpeg(shrunk(view, THUMB_PX), 80))
            files |= {"image": VIEW, "thumbnail": THUMB}
        if save is not None:
            files |= save(folder)
        record = {**record, "files": files}
        for path in folder.iterdir():
            if path.name not in {*files.values(), RECORD}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(folder / RECORD, record)
        return record


def content_of(item: Item) -> str:
    """Digest of the content of an input with all its parts, and of what else it rests on.

    Raises
    ------
    OSError
        It cannot be read.
    """
    first = fingerprint(item.path)
    return digest_of([first, *map(fingerprint, item.parts)]) if item.parts else first


def surroundings_of(item: Item) -> list[str]:
    """Digests of the patient's other images; "" for one that cannot be read."""
    found = []
    for path, _ in item.siblings:
        try:
            found.append(fingerprint(path))
        except OSError:
            found.append("")
    return found
