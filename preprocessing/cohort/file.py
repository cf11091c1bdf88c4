"""The file of a cohort table, as it is: text cells of CSV, or the columns of Parquet."""

import csv
from pathlib import Path

import pandas as pd

from offsite.errors import InputError

REQUIRED = ("image", "patient", "site", "label")
TEXT = (*REQUIRED, "slide", "split", "eye", "scanner")
MAX_ROWS = 5_000_000


def read_table(file: Path) -> pd.DataFrame:
    """Read a table whose cells nobody has looked at yet.

    Raises
    ------
    InputError
        There is no such file, it is no table, or it has no rows or too many; of CSV also code
        ``separator``, ``column_twice`` or ``too_many_cells`` (rows longer than the header).
    """
    if not file.is_file():
        raise InputError(
            "no such cohort table", file=file, remedy="Name an existing CSV or Parquet file"
        )
    try:
        table = pd.read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)
    except InputError:
        raise
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read as a table ({error})",
            file=file,
            remedy="Save it as CSV (UTF-8, commas, one header row) or Parquet",
        ) from error
    if table.empty:
        raise InputError("the table has no rows", file=file, remedy="Give one row per image")
    if len(table) > MAX_ROWS:
        raise InputError(
            f"{len(table)} rows are more than {MAX_ROWS}",
            file=file,
            remedy="Split the cohort into several tables",
        )
    return table


def _read_csv(file: Path) -> pd.DataFrame:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        _check_header(next(csv.reader(lines), []), file)
    # Identifiers such as 007 or NA are names, not numbers or gaps.
    table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if not isinstance(table.index, pd.RangeIndex):  # pandas has shifted all columns by one
        raise InputError(
            "its rows have more cells than the header",
            file=file,
            code="too_many_cells",
            remedy="Put names that hold a comma into quotes; take commas away from lines' ends",
        )
    return table


def _check_header(names: list[str], file: Path) -> None:
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise InputError(
            "its cells are not parted by commas",
            file=file,
            row=1,
            code="separator",
            remedy="Save it as CSV with commas; many spreadsheets write semicolons or tabs",
        )
    twice = [name for name in (*TEXT, "mpp") if names.count(name) > 1]
    if twice:  # pandas would take the first and rename the second
        raise InputError(
            f"column {', '.join(twice)} is there twice",
            file=file,
            row=1,
            code="column_twice",
            remedy="Keep the one that is right, and rename or remove the other",
        )
