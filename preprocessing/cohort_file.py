"""The file of a cohort table, as it is: text cells of CSV, or the columns of Parquet."""

from pathlib import Path

import pandas as pd

from preprocessing.errors import InputError

MAX_ROWS = 5_000_000


def read_table(file: Path) -> pd.DataFrame:
    """Read a table whose cells nobody has looked at yet.

    Raises
    ------
    InputError
        There is no such file, it is no table, it has no rows or too many, or (code
        ``too_many_cells``) its rows have more cells than the header has names.
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
    # Identifiers such as 007 or NA are names, not numbers or gaps.
    table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if not isinstance(table.index, pd.RangeIndex):  # pandas has shifted all columns by one
        raise InputError(
            "its rows have more cells than the header", file=file, code="too_many_cells",
            remedy="Put names that hold a comma into quotes; take commas away from lines' ends",
        )  # fmt: skip
    return table
