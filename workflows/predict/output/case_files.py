"""The folder of each case, and how a later run knows that it need not be done again."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from offsite.children.limits import Limits
from offsite.files import (
    BOOKKEEPING,
    digest_of,
    file_digest,
    in_the_way,
    is_plain_file,
    read_json,
    write_bytes,
    write_json,
)
from offsite.ownership import refuse_link, refuse_strangers, remove_named, remove_written
from offsite.training.prediction.codes import PASSING, Code, Status
from offsite.training.prediction.contents import contents_of_siblings
from offsite.training.prediction.items import Item

RECORD = "case.json"
_MAKING = f"{BOOKKEEPING}making"
_PICTURES = {"image": "image.jpg", "thumbnail": "thumb.jpg"}
# What a case may hold, for where its record is damaged.
_NAMES = (*_PICTURES.values(), "overlay.png", "heatmap.png", "heatmap.geojson.gz")
# A change here redoes every case: what is written, or how it is decided, became another.
FORMAT = 4


class CaseFiles:
    """The folders of all cases under ``<output>/cases``.

    ``case.json`` names the files of a case with their digests (``written``): one that has all of
    them is whole, and nothing else in the folder is offsite's to remove. Its ``key`` is a digest of
    the content of the input, the model, the settings and what a table says of the input.

    Parameters
    ----------
    output : Path
        Folder of the run.
    settings : dict
        JSON-able; everything but the input that the result depends on.
    limits : Limits, optional
        What reading an input may take now.
    retry_failed : bool
        Whether no record of a case that failed is worth keeping.
    """

    def __init__(
        self,
        output: Path,
        settings: Mapping[str, Any],
        limits: Limits | None = None,
        *,
        retry_failed: bool = False,
    ) -> None:
        self.root = output / "cases"
        self._limits, self._retry_failed = limits or Limits(), retry_failed
        self._confirmed: dict[str, str] = {}
        self._settings = digest_of({"format": FORMAT, **settings})

    def folder(self, item: Item) -> Path:
        """Return where the case of an input lives."""
        return self.root / item.case

    def key(self, item: Item, content: str) -> str:
        """Return what the result of an input depends on, as one digest."""
        facts = [item.name, item.patient, item.site, item.eye, item.mpp]
        return digest_of([self._settings, content, facts, contents_of_siblings(item)])

    def confirmed(self, item: Item) -> dict[str, Any] | None:
        """Return the record of a case that this run wrote, or saw to be valid still.

        What else lies in the folder may be another model's answer, or another image's.
        """
        key = self._confirmed.get(item.case)
        return None if key is None else self._read(item, key)

    def has_record(self, item: Item) -> bool:
        """Whether an earlier run wrote something of the case."""
        return (self.folder(item) / RECORD).exists()

    def current(self, item: Item, key: str) -> dict[str, Any] | None:
        """Return the record if it is of this key, whole, and worth keeping."""
        record = self._read(item, key)
        if record is None or self._worth_trying(record):
            return None
        folder = self.folder(item)
        if not all((folder / name).is_file() for name in record["files"].values()):
            return None
        self._discard(item)
        self._confirmed[item.case] = key
        return record

    def _worth_trying(self, record: Mapping[str, Any]) -> bool:
        """Whether another run may come to another end with the same input."""
        if self._retry_failed and record.get("status") == Status.ERROR:
            return True
        ended_by = record.get("limits")
        if isinstance(ended_by, dict):  # it takes more than it was given: has it more now?
            name = "case_seconds" if record.get("code") == Code.TIMED_OUT else "case_gib"
            return bool(getattr(self._limits, name) > ended_by.get(name, 0))
        return record.get("code") in PASSING

    def _read(self, item: Item, key: str) -> dict[str, Any] | None:
        record = self._record(item)
        return record if record is not None and record.get("key") == key else None

    def write(
        self,
        item: Item,
        record: dict[str, Any],
        pictures: Mapping[str, bytes],
        save: Callable[[Path], dict[str, str]] | None,
    ) -> dict[str, Any]:
        """Write a case afresh; returns the record with the names of its files.

        ``pictures`` are of `offsite.preprocessing.views.pictures_of`; ``save`` writes more and names it by kind.
        """
        folder = self.folder(item)
        self._make_room(item)
        folder.mkdir(parents=True, exist_ok=True)
        with self._staged(item) as staged:
            files = {kind: _PICTURES[kind] for kind in pictures}
            for kind, content in pictures.items():
                write_bytes(staged / _PICTURES[kind], content)
            if save is not None:
                files |= save(staged)
            refuse_strangers(folder, files.values())
            written = {name: file_digest(staged / name) for name in files.values()}
            record = {**record, "files": files, "written": written}
            # Before the files: what no record names is not ours, and would not be replaced.
            write_json(staged / RECORD, record)
            for name in (RECORD, *written):
                (staged / name).replace(folder / name)
        self._confirmed[item.case] = record["key"]
        return record

    def tidy(self) -> None:
        """Remove the place where cases are made, once none is."""
        with suppress(OSError):  # not there, or another part is at work
            (self.root / _MAKING).rmdir()

    @contextmanager
    def _staged(self, item: Item) -> Iterator[Path]:
        """Yield an empty folder to make a case in.

        It has the case's name, so that what a killed run leaves is removed when the case is done
        again, or found to be whole.
        """
        self._discard(item)
        folder = self.root / _MAKING / item.case
        while True:
            with suppress(FileNotFoundError):  # another part may have tidied up just now
                folder.mkdir(parents=True, exist_ok=True)
                break
        try:
            yield folder
        finally:
            self._discard(item)

    def _discard(self, item: Item) -> None:
        folder = self.root / _MAKING / item.case
        refuse_link(folder.parent)
        if os.path.lexists(folder):
            refuse_link(folder)
            shutil.rmtree(folder)

    def _make_room(self, item: Item) -> None:
        """Remove what an earlier run wrote for the case, and nothing else.

        Raises
        ------
        InputError
            The folder is a link, or something in it has the name of a result.
        """
        folder = self.folder(item)
        refuse_link(self.root)
        refuse_link(folder)
        file = folder / RECORD
        record = self._record(item)
        if record is None:
            if file.is_symlink() or (file.exists() and not _is_damaged(file)):
                raise in_the_way(file)
            if file.exists():
                remove_named(folder, _NAMES)
            return
        written = record.get("written")
        if written is None:  # of an earlier version, which kept no digests
            remove_named(folder, record.get("files", {}).values())
        else:
            remove_written(folder, written)

    def _record(self, item: Item) -> dict[str, Any] | None:
        """What an earlier run wrote of a case, whatever its key."""
        file = self.folder(item) / RECORD
        try:
            record = read_json(file) if is_plain_file(file) else None
        except (OSError, ValueError, RecursionError):
            return None
        known = isinstance(record, dict) and record.get("case") == item.case
        return record if known else None


def _is_damaged(file: Path) -> bool:
    """Whether a record holds no JSON any more, beside what a case has; another tool's would."""
    if not any((file.parent / name).is_file() for name in (*_NAMES, "index.html")):
        return False
    try:
        read_json(file)
    except ValueError:
        return is_plain_file(file)
    except (OSError, RecursionError):
        pass
    return False
