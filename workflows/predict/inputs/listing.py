"""From what was named on the command line to a list of inputs, each of which becomes one row."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from offsite.errors import InputError
from offsite.files import digest_of
from offsite.preprocessing.formats.companions import companion_files
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import FileChoice
from offsite.training.prediction.items import Item, Sibling
from offsite.workflows.predict.inputs.search import Search

Group = Callable[[list[Path]], list[tuple[Path, ...]]]


@dataclass(frozen=True)
class Inputs:
    """All inputs of a run, and what was left out on purpose, counted by what it is."""

    items: tuple[Item, ...]
    repeated: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def ignored(self) -> int:
        """How many files and folders were left out."""
        return sum(self.left_out.values())

    def left_out_text(self) -> str:
        """Say what was left out, or "" where nothing was."""
        counts = [f"{count} {what}" for what, count in sorted(self.left_out.items())]
        return f"Left out: {', '.join(counts)}" if counts else ""


def find_inputs(
    names: Sequence[str | Path],
    *,
    site: str = "",
    leave_out: Path | None = None,
    group: Group | None = None,
    choice: FileChoice | None = None,
    features: Path | None = None,
) -> Inputs:
    """List the inputs in a stable order.

    Parameters
    ----------
    names : sequence of paths
        Images, folders (searched to the bottom; hidden files and results of earlier runs are left
        out) and cohort tables (with ``image, patient, site``; see docs/cohort.md).
    site : str
        Site of every input for which no table names one.
    leave_out : Path, optional
        A folder that is not searched: the output.
    group : callable, optional
        Joins the files of one folder that are one image; each group's first file stands for it.
    choice : FileChoice, optional
        Which files the model reads, where these are not images.
    features : Path, optional
        Where the files of a table's cases are, which it names alone; only with a choice.

    Returns
    -------
    Inputs
        A file named twice is one input, with what a table says of it. One that tables give to two
        patients, eyes or sites is an input for each.

    Raises
    ------
    InputError
        A cohort table is faulty. A missing file is not an error here: it becomes a row.
    """
    by_file: dict[bytes, list[Item]] = {}
    repeated = 0
    search = Search(leave_out, choice, features)
    for name in names:
        for item in search.items(Path(name)):
            key = os.fsencode(os.path.abspath(item.path))  # noqa: PTH100 (a link stays itself)
            rows = by_file.setdefault(key, [])
            repeated += not _added(rows, item if item.site else replace(item, site=site))
    items = [item for rows in by_file.values() for item in rows]
    if choice is not None:
        whole = _joined(items, choice.group, apart=False)
    else:
        whole = _joined(items, group) if group else items
    numbered = (
        replace(item, number=number, parts=item.parts or companion_files(item.path))
        for number, item in enumerate(whole, start=1)
    )
    return Inputs(tuple(numbered), repeated, dict(search.left_out))


def _added(rows: list[Item], item: Item) -> bool:
    """Add an input to the others of its file, unless it says nothing new; tables alone do."""
    if item.fault and item.fault[0] is Code.FAULTY_ROW:
        rows.append(replace(item, case=f"{item.case}-{digest_of(item.fault[1])[:6]}"))
        return True
    if rows and (not item.patient or any(_facts(row) == _facts(item) for row in rows)):
        return False
    if rows and not rows[0].patient and not rows[0].fault:
        rows[0] = item
        return False
    if rows:
        item = replace(item, case=f"{item.case}-{digest_of(_facts(item))[:6]}")
    rows.append(item)
    return True


def _facts(item: Item) -> list[Any]:
    return [item.patient, item.site, item.eye, item.mpp]


def _joined(items: Sequence[Item], group: Group, *, apart: bool = True) -> list[Item]:
    """Make the files that are one image one input, however they were named.

    Where folders are ``apart``, the files of an image are in one.
    """
    folders: dict[Path, list[Path]] = {}
    for item in items:
        if not item.patient and item.fault is None:
            folders.setdefault(item.path.parent if apart else Path(), []).append(item.path)
    parts = {first: rest for files in folders.values() for first, *rest in group(files)}
    members = {path for rest in parts.values() for path in rest}
    return [
        replace(item, parts=tuple(parts.get(item.path, ()))) if not item.patient else item
        for item in items
        if item.patient or item.path not in members
    ]


def with_siblings(inputs: Inputs) -> Inputs:
    """Give each input of a named patient the patient's other images at the site, in their order.

    Two tables may use one name for two people of two sites.
    """
    known: dict[tuple[str, str], dict[Path, Sibling]] = {}
    for item in inputs.items:
        if item.patient and item.fault is None:
            known.setdefault((item.site, item.patient), {}).setdefault(
                item.path, Sibling(item.path, item.mpp, item.parts)
            )
    items = tuple(
        replace(
            item,
            siblings=tuple(
                other
                for other in known.get((item.site, item.patient), {}).values()
                if other.path != item.path
            ),
        )
        for item in inputs.items
    )
    return replace(inputs, items=items)


def part_of(items: Sequence[Item], part: str) -> tuple[Item, ...]:
    """Return the ``i/n``-th share of the items: every n-th one, so that shares are even.

    Raises
    ------
    InputError
        ``part`` is not two numbers with 1 <= i <= n.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"'{part}' is not a part", remedy="Write --part 2/8 for the second of 8")
    return tuple(items[int(match[1]) - 1 :: int(match[2])])
