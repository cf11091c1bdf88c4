"""A table of new cases: a faulty row becomes a row, and the rest is answered.

A training table must be whole before anything is learned of it; a worklist only names what is to be
read. It needs the column ``image`` alone, and two files of one name are two cases.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort import faults as of
from offsite.preprocessing.cohort.missing_images import missing_images
from offsite.tables.faults import faults_at, no_names
from offsite.tables.reading import TextTable, read_table
from offsite.tables.words import EYES, read_numbers, read_words, tidy
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import FileChoice
from offsite.training.prediction.items import Item, item_of

COLUMNS = ("image", "patient", "site", "eye", "mpp", "scanner", "date")
_ABSENT = {  # without its name, which may be a patient's
    "backslashes": "the path is written with backslashes: write slashes",
    "other_case": "there is no such file, but one whose name differs in case",
    "other_letters": "there is no such file, but one whose accented letters are stored otherwise",
}
_FILL = "Mend the row, or remove it"
_TEXT = ("image", "patient", "site", "scanner", "date")


def worklist_items(
    path: Path, choice: FileChoice | None = None, features: Path | None = None
) -> Iterator[Item]:
    """Yield an input for each row of a table, in its order.

    Parameters
    ----------
    path : Path
        CSV or Parquet with ``image`` (relative to the table) and optionally ``patient``, ``site``,
        ``eye``, ``mpp``, ``scanner`` and ``date``; other columns are not looked at.
    choice, features : FileChoice and Path, optional
        With them the table names its cases alone (``slide``, or the stem of ``image``), and their
        files are looked for in the folder.

    Raises
    ------
    InputError
        The file is no table, has no column ``image`` (or ``slide``), or no row of it can be used.
    """
    source = read_table(path, COLUMNS if choice is None else (*COLUMNS, "slide"))
    if choice is not None and features is not None:
        found = files_of(source.rows, choice, features)
        images = ["" if file == Path() else str(file) for file in found]
        source = replace(source, rows=source.rows.assign(image=images))
    elif choice is not None and "image" not in source.rows.columns:
        raise folder_not_named(path)
    if "image" not in source.rows.columns:
        raise InputError(
            "the table has no column 'image'",
            file=path,
            remedy="Call the column that names the files 'image'",
            code="missing_column",
        )
    table = _tidied(source)
    faults = _faults(table, source, path)
    if len(faults) == len(table):
        raise InputErrors(list(faults.values()))
    absent = {
        int(fault.row): _ABSENT.get(fault.code, "there is no such file")
        for fault in missing_images(table, path)
        if fault.row is not None
    }
    for number, row in zip(table.index, table.to_dict("records"), strict=True):
        yield _item(path, int(number), row, faults.get(int(number)), absent.get(int(number), ""))


def folder_not_named(table: Path) -> InputError:
    """Make the error for a table that names slides alone, to a model that reads their features."""
    return InputError(
        "the table has no column 'image', and the folder of its slides' features is not named",
        file=table,
        remedy="Name it: --features FOLDER",
        code="missing_column",
    )


def files_of(rows: pd.DataFrame, choice: FileChoice, folder: Path) -> list[Path]:
    """Return the file in a folder that each row's case has.

    A case is known by ``slide``, or where that is blank by the stem of ``image``. For one without a
    file a path stands that is not there, for a row without a name an empty one.

    Raises
    ------
    InputError
        A case has several files, or shares one with another.
    """
    blank = pd.Series("", index=rows.index)
    slides, images = (
        rows.get(name, blank).astype("string").fillna("").str.strip().astype(str)
        for name in ("slide", "image")
    )
    cases = slides.where(slides != "", images.map(lambda image: Path(image).stem))
    files = choice.locate(folder, list(dict.fromkeys(case for case in cases if case)))
    return [files.get(case, folder / case).absolute() if case else Path() for case in cases]


def _item(
    table: Path, number: int, row: Mapping[Hashable, Any], fault: InputError | None, absent: str
) -> Item:
    named = str(row["image"])
    image = table.parent / (named or f"row {number} of the table")
    known: tuple[Code, str] | None = None
    nameless = fault is not None and fault.column == "patient"
    if fault is not None:
        known = (Code.FAULTY_ROW, f"row {number} of the table: {fault.problem}")
    elif absent:
        known = (Code.NOT_FOUND, absent)
    mpp = float(row["mpp"])
    return item_of(
        image,
        patient="" if nameless else str(row["patient"]),
        site=str(row["site"]),
        eye=str(row["eye"]),
        scanner=str(row["scanner"]),
        date=str(row["date"]),
        mpp=None if np.isnan(mpp) else mpp,
        fault=known,
    )


def _tidied(source: TextTable) -> pd.DataFrame:
    """The columns that mean something, blank where the table has none."""
    table = pd.DataFrame(index=source.rows.index)
    for name in _TEXT:
        cells = source.rows[name] if name in source.rows else pd.Series("", index=table.index)
        text = cells.astype("string").fillna("").astype(str).str.strip()
        table[name] = text if name == "image" else text.map(tidy)
    return table


def _faults(table: pd.DataFrame, source: TextTable, path: Path) -> dict[int, InputError]:
    """What is wrong with a row, by its number; adds ``eye`` and ``mpp`` to the table."""
    checked = table.assign(slide="")
    faults = [*no_names(checked, path, ("patient", "site")), *of.unsafe_names(checked, path)]
    blank = np.flatnonzero((table["image"] == "").to_numpy())
    faults += faults_at(blank, path, "image", "no image is named", _FILL, table, "blank")
    if (table["patient"] != "").any():  # where patients are named, one without a name is nobody's
        blank = np.flatnonzero((table["patient"] == "").to_numpy())
        faults += faults_at(blank, path, "patient", "no patient is named", _FILL, table, "blank")
    table["eye"], table["mpp"] = "", np.nan
    if "eye" in source.rows:
        table["eye"], wrong = read_words(source.rows["eye"].astype("string").fillna(""), EYES)
        faults += faults_at(wrong, path, "eye", "'{}' is not an eye", _FILL, table, "unknown_eye")
    if "mpp" in source.rows:
        table["mpp"], wrong = read_numbers(source.rows["mpp"], decimal_comma=source.decimal_comma)
        faults += faults_at(wrong, path, "mpp", "no number", _FILL, table, "no_number")
        faults += of.implausible_scales(table, path)
    return {fault.row: fault for fault in reversed(faults) if fault.row is not None}
