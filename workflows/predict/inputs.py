"""From what was named on the command line to a list of inputs, each of which becomes one row."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from preprocessing.errors import InputError
from workflows.predict.codes import Code

TABLES = (".csv", ".parquet")
# What operating systems leave in folders is no input.
_LITTER = {"thumbs.db", "desktop.ini", ".ds_store"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One input.

    Attributes
    ----------
    number : int
        Its place in the run, from 1; logs name it by this and never by its file.
    path : Path
    name : str
        The path as it is shown: always printable, always UTF-8.
    case : str
        Name of its folder in the output; letters, digits, dot, hyphen and underscore only.
    patient, site, eye : str
        From a cohort table, else blank (site: from the command line).
    mpp : float or None
        um per px from a cohort table.
    parts : tuple of Path
        Further files of the same image (a DICOM series).
    siblings : tuple of (Path, float or None)
        Other images of the patient that the answer rests on too (models of patients), with mpp.
    fault : (Code, str) or None
        What is known against it already.
    """

    number: int = 0
    path: Path
    name: str
    case: str
    patient: str = ""
    site: str = ""
    eye: str = ""
    mpp: float | None = None
    parts: tuple[Path, ...] = ()
    siblings: tuple[tuple[Path, float | None], ...] = ()
    fault: tuple[Code, str] | None = None


@dataclass(frozen=True)
class Inputs:
    """All inputs of a run, and what was left out on purpose."""

    items: tuple[Item, ...]
    repeated: int = 0
    ignored: int = 0


def find_inputs(
    names: Sequence[str | Path],
    *,
    site: str = "",
    leave_out: Path | None = None,
    group: Callable[[list[Path]], list[tuple[Path, ...]]] | None = None,
) -> Inputs:
    """List the inputs in a stable order.

    Parameters
    ----------
    names : sequence of paths
        Images, folders (searched to the bottom; hidden files are left out) and cohort tables (CSV
        or Parquet with ``image, patient, site``).
    site : str
        Site of every input for which no table names one.
    leave_out : Path, optional
        A folder that is not searched: the output.
    group : callable, optional
        Joins the files of one folder that are one image; each group's first file stands for it.

    Returns
    -------
    Inputs
        A file named twice is one input.

    Raises
    ------
    InputError
        A cohort table is faulty. A missing file is not an error here: it becomes a row.
    """
    found: dict[bytes, Item] = {}
    repeated = 0
    search = _Search(leave_out.resolve() if leave_out else None, group)
    for name in names:
        for item in search.items(Path(name)):
            key = os.fsencode(os.path.abspath(item.path))  # noqa: PTH100 (a link stays itself)
            if key in found:
                repeated += 1
                continue
            found[key] = item if item.site else replace(item, site=site)
    items = tuple(replace(item, number=n) for n, item in enumerate(found.values(), start=1))
    return Inputs(items, repeated, search.ignored)


def with_siblings(inputs: Inputs) -> Inputs:
    """Give each input of a named patient the patient's other images at the site, in their order.

    Two tables may use one name for two people of two sites.
    """
    known: dict[tuple[str, str], list[tuple[Path, float | None]]] = {}
    for item in inputs.items:
        if item.patient and item.fault is None:
            known.setdefault((item.site, item.patient), []).append((item.path, item.mpp))
    items = tuple(
        replace(
            item,
            siblings=tuple(
                other for other in known.get((item.site, item.patient), ()) if other[0] != item.path
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


def shown(path: Path) -> str:
    """Return a path as text that can be printed and written as UTF-8."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def case_name(path: Path) -> str:
    """Return a folder name for an input: readable, unique, and unable to leave the output.

    >>> case_name(Path("/data/../=cmd|x.png"))[:6]
    'cmd_x-'
    """
    absolute = os.path.abspath(path)  # noqa: PTH100
    digest = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:12]
    plain = unicodedata.normalize("NFKD", shown(Path(Path(absolute).stem)))
    text = re.sub(r"[^A-Za-z0-9]+", "_", plain.encode("ascii", "ignore").decode()).strip("_")
    return f"{text[:40] or 'case'}-{digest}"


def item_of(path: Path, **facts: object) -> Item:
    """Return the input for one path."""
    return replace(Item(path=path, name=shown(path), case=case_name(path)), **facts)  # type: ignore[arg-type]


class _Search:
    def __init__(
        self,
        leave_out: Path | None,
        group: Callable[[list[Path]], list[tuple[Path, ...]]] | None,
    ) -> None:
        self._leave_out = leave_out
        self._group = group
        self.ignored = 0

    def items(self, path: Path) -> Iterator[Item]:
        if path.suffix.lower() in TABLES and path.is_file():
            yield from _table_items(path)
        elif path.is_dir():
            yield from self._folder(path, ())
        elif not os.path.lexists(path):
            yield item_of(path, fault=(Code.NOT_FOUND, "there is no such file"))
        else:
            yield item_of(path)

    def _folder(self, folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Item]:
        try:
            stat = folder.stat()
            identity = (stat.st_dev, stat.st_ino)
            if identity in above:
                fault = (Code.FOLDER_LOOP, "the folder leads back into itself")
                yield item_of(folder, fault=fault)
                return
            with os.scandir(folder) as entries:
                names = sorted((entry.name for entry in entries), key=os.fsencode)
        except OSError as error:
            yield item_of(folder, fault=(Code.PERMISSION_DENIED, f"folder: {error.strerror}"))
            return
        files, folders = [], []
        for name in names:
            path = folder / name
            if name.startswith(".") or name.lower() in _LITTER:
                self.ignored += 1
            elif path.is_dir():
                folders.append(path)
            else:
                files.append(path)
        groups = self._group(files) if self._group else [(path,) for path in files]
        for first, *parts in groups:
            yield item_of(first, parts=tuple(parts))
        for path in folders:
            if self._leave_out is None or path.resolve() != self._leave_out:
                yield from self._folder(path, (*above, identity))


def _table_items(path: Path) -> Iterator[Item]:
    from preprocessing.cohort import load_cohort

    cohort = load_cohort(path, check_images=False)
    eyes = cohort.table["eye"] if "eye" in cohort.table else [""] * len(cohort.table)
    rows = zip(cohort.image_paths(), cohort.table.itertuples(index=False), eyes, strict=True)
    for image, row, eye in rows:
        fault = None if image.exists() else (Code.NOT_FOUND, "there is no such file")
        mpp = float(row.mpp)  # type: ignore[arg-type]
        yield item_of(
            image,
            patient=row.patient,
            site=row.site,
            eye=str(eye),
            mpp=None if mpp != mpp else mpp,
            fault=fault,
        )
