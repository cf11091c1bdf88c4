"""Faults of a table's cells: each names its row, column and remedy."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.tables.words import is_missing, is_shortened


def faults_at(
    rows: Iterable[int],
    file: Path,
    column: str,
    problem: str,
    remedy: str,
    table: pd.DataFrame,
    code: str,
) -> list[InputError]:
    """One fault for each row (a position); the table's index numbers rows as a spreadsheet does.

    ``{}`` in the problem stands for the cell's value, never a patient's.
    """
    return [
        InputError(
            problem.format(table[column].iloc[row]),
            file=file,
            row=int(table.index[row]),
            column=column,
            remedy=remedy,
            code=code,
        )
        for row in rows
    ]


def no_names(table: pd.DataFrame, file: Path, columns: Sequence[str]) -> list[InputError]:
    """Words for a missing value, and numbers that a spreadsheet has shortened, as names."""
    faults: list[InputError] = []
    for column in columns:
        faults += faults_at(
            rows_where(table[column], is_missing),
            file,
            column,
            "the cell says that there is no value",
            f"Give the {column}; with a word for it, different {column}s become one",
            table,
            "missing_word",
        )
        faults += faults_at(
            rows_where(table[column], is_shortened),
            file,
            column,
            "a spreadsheet has shortened a long number, and different ones became one",
            "Make the table anew from its source, with this column as text",
            table,
            "shortened_number",
        )
    return faults


def rows_where(cells: pd.Series, test: Callable[[str], bool]) -> np.ndarray:
    """Positions of the cells of which ``test`` is true; blank ones are not asked."""
    wrong = {cell for cell in cells.unique() if cell and test(cell)}
    return np.flatnonzero(cells.isin(wrong).to_numpy())
