"""The groups of patients that a column tells apart."""

from difflib import get_close_matches

import numpy as np
import pandas as pd

from offsite.errors import InputError

BLANK = "(blank)"
MOST_GROUPS = 20


def groups_of_column(table: pd.DataFrame, column: str) -> np.ndarray:
    """The group of each row, N names; empty cells are a group too, and 2019.0 is 2019.

    Raises
    ------
    InputError
        There is no such column, or it has more than twenty values.
    """
    if column not in table:
        near = get_close_matches(column, [str(name) for name in table.columns], n=1)
        raise InputError(
            f"there is no column '{column}' to group patients by",
            remedy=f"{f'Did you mean {near[0]}? ' if near else ''}Name columns of the table in `by`",
            code="unknown_column",
        )
    cells = table[column].astype("string").fillna("").str.strip()
    cells = cells.str.replace(r"^(\d+)\.0+$", r"\1", regex=True).where(cells != "", BLANK)
    count = cells.nunique()
    if count > MOST_GROUPS:
        raise InputError(
            f"column '{column}' has {count} different values, too many to be groups",
            remedy=f"Make at most {MOST_GROUPS} bands of it, such as age 40-59",
            code="too_many_groups",
        )
    return cells.to_numpy(dtype=str)
