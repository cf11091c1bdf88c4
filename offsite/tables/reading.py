"""The file of a table: CSV in the dialects that spreadsheets write, or Parquet."""

import csv
import gzip
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.files import is_file
from offsite.tables.words import column_names, plain

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
MAX_ROWS = 5_000_000
MAX_BYTES = 4 << 30
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_SEPARATORS = ",;\t"
_SAVE_AS = "Save it as CSV (UTF-8, one header row) or Parquet"


@dataclass(frozen=True)
class TextTable:
    """A table whose cells nobody has looked at yet.

    Attributes
    ----------
    rows : pandas.DataFrame
        Cells of CSV are text as it is written, those of Parquet have the column's type. The index
        counts rows as a spreadsheet does: the header is row 1, blank rows count too.
    decimal_comma : bool
        Whether a comma within a number can only be a decimal comma.
    """

    rows: pd.DataFrame
    decimal_comma: bool


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name, including spreadsheets, which are then refused."""
    return path.name.lower().endswith((*SUFFIXES, *_SPREADSHEETS))


def read_table(file: Path, known: Sequence[str]) -> TextTable:
    """Read a table.

    Parameters
    ----------
    file : Path
        Parquet, or CSV in UTF-8 or UTF-16 with commas, semicolons or tabs, also compressed (.gz).
    known : sequence of str
        Columns that mean something. They are found in any case and with spaces around them.

    Raises
    ------
    InputError
        Code ``no_table`` (there is no such file), ``spreadsheet``, ``not_a_table``, ``encoding``,
        ``too_large``, ``no_rows``, ``too_many_cells`` (a row longer than the header),
        ``column_twice`` or ``unclear_column``.
    """
    name = file.name.lower()
    if name.endswith(_SPREADSHEETS):
        raise InputError(
            "a spreadsheet is not read, for what it shows may not be what it holds",
            file=file,
            code="spreadsheet",
            remedy="Save the sheet as CSV (UTF-8)",
        )
    if not is_file(file):
        raise InputError(
            "there is no such table",
            file=file,
            code="no_table",
            remedy="Name an existing CSV or Parquet file",
        )
    if name.endswith(".parquet"):
        rows, comma = _of_parquet(file), False
    else:
        rows, separator = _of_csv(file, known)
        comma = separator != ","
    rows.columns = pd.Index(_columns([str(name) for name in rows.columns], known, file))
    if rows.empty:
        raise InputError(
            "the table has no rows", file=file, code="no_rows", remedy="Give one row per image"
        )
    if len(rows) > MAX_ROWS:
        raise InputError(
            f"{len(rows)} rows are more than {MAX_ROWS}",
            file=file,
            code="too_large",
            remedy="Divide it into several tables",
        )
    return TextTable(rows, comma)


def _of_parquet(file: Path) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise _not_a_table(file, error) from error
    rows.index = pd.RangeIndex(2, len(rows) + 2)
    for name in rows.columns:
        if rows[name].map(lambda cell: isinstance(cell, bytes | list | dict | np.ndarray)).any():
            problem = f"column {name} holds lists or bytes, and no text or numbers"
            raise InputError(problem, file=file, code="not_a_table", remedy=_SAVE_AS)
    return rows


def _of_csv(file: Path, known: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """The cells, and what separates them."""
    text = _text(file)
    body = re.sub(r"\A(?:[ \t]*\r?\n)+", "", text)
    said = re.match(r'"?sep=([,;\t])"?[,;\t]*\r?\n', body)  # a line for spreadsheets alone
    body = body[said.end() :] if said else body
    above = text[: len(text) - len(body)].count("\n")
    separator = said[1] if said else _separator(body, known)
    try:
        cells = pd.read_csv(
            io.StringIO(body, newline=""),
            sep=separator,
            header=None,
            dtype=str,
            na_filter=False,
            skip_blank_lines=False,
        ).fillna("")
    except pd.errors.EmptyDataError:
        return pd.DataFrame(), separator
    except (ValueError, csv.Error) as error:
        raise _not_a_table(file, error, above) from error
    cells.index = pd.RangeIndex(above + 1, above + len(cells) + 1)
    header, rows = cells.iloc[0], cells.iloc[1:]
    rows = rows.set_axis(header.to_list(), axis=1)
    blank = (cells.iloc[1:].apply(lambda column: column.str.strip()) == "").all(axis=1)
    return rows[~blank.to_numpy(bool)], separator


def _text(file: Path) -> str:
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opened(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise _not_a_table(file, error) from error
    if len(data) > MAX_BYTES:
        raise InputError(
            f"more than {MAX_BYTES >> 30} GiB of text",
            file=file,
            code="too_large",
            remedy="Divide it into several tables",
        )
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise _encoding(file, "its text is not UTF-8", None if wide else row) from error
    if "\0" in text:
        raise _encoding(file, "it holds zero bytes, as UTF-16 without its mark does", None)
    # Line ends of old Macintoshes; beside others a lone one stands within a cell.
    return text if "\n" in text else text.replace("\r", "\n")


def _separator(text: str, known: Sequence[str]) -> str:
    """The separator that gives most known columns in the first row, and of those most columns."""
    first = text.split("\n", 1)[0]

    def columns(mark: str) -> tuple[int, int]:
        names = next(csv.reader([first], delimiter=mark), [])
        return sum(plain(name) in known for name in names), len(names)

    return max(_SEPARATORS, key=columns)


def _columns(names: list[str], known: Sequence[str], file: Path) -> list[str]:
    read, unclear = column_names(names, known)
    twice = sorted({name for name in read if name in known and read.count(name) > 1})
    if twice:
        raise InputError(
            f"column {', '.join(twice)} is there twice",
            file=file,
            row=1,
            code="column_twice",
            remedy="Keep the one that is right, and rename or remove the other",
        )
    for written, meant in unclear.items():
        raise InputError(
            f"a column '{written}', but none called '{meant}'",
            file=file,
            row=1,
            code="unclear_column",
            remedy=f"If it holds the {meant}, call it {meant}; if not, give it another name",
        )
    seen: dict[str, int] = {}
    distinct = []
    for number, name in enumerate(read, start=1):
        base = name or f"unnamed_{number}"
        seen[base] = seen.get(base, 0) + 1
        distinct.append(base if seen[base] == 1 else f"{base}.{seen[base] - 1}")
    return distinct


def _not_a_table(file: Path, error: Exception, above: int = 0) -> InputError:
    longer = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if longer:
        return InputError(
            f"{longer[3]} cells are more than the header's {longer[1]}",
            file=file,
            row=above + int(longer[2]),
            code="too_many_cells",
            remedy="Put names that hold the separator into quotes; take it away from lines' ends",
        )
    if "EOF inside string" in str(error):
        problem = "a quotation mark is opened and never closed"
    else:
        problem = f"cannot be read as a table ({plain(str(error))})"
    return InputError(problem, file=file, code="not_a_table", remedy=_SAVE_AS)


def _encoding(file: Path, problem: str, row: int | None) -> InputError:
    return InputError(problem, file=file, row=row, code="encoding", remedy="Save it as 'CSV UTF-8'")
