"""What a predictions table must be for its numbers to mean what a report says of them, and its groups."""

from difflib import get_close_matches

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.table import Predictions

SPLITS = ("train", "val", "test")
BLANK = "(blank)"
MOST_GROUPS = 20


def check_rows(predictions: Predictions) -> None:
    """Refuse predictions that would be measured wrongly without a word.

    Raises
    ------
    InputError
        There is no row; a site is called like a summary; a split is none of train, val and test
        (its rows would be left out); an image has two rows (it would count twice); a patient has
        rows in two splits (what is chosen on a patient would be measured on the same one).
    """
    table = predictions.table
    if not len(table):
        raise InputError("no predictions", remedy="Give a table with a row for each image")
    _check_sites(table)
    _check_splits(table)
    twice = table.duplicated(["site", "patient", "image"])
    if twice.any():
        raise InputError(
            f"image '{table['image'][twice].iloc[0]}' has two rows",
            column="image",
            remedy="Keep one row for each image",
            code="duplicate_image",
        )


def _check_sites(table: pd.DataFrame) -> None:
    odd = sorted({site for site in table["site"] if site.startswith("_") or not site.strip()})
    if odd:
        raise InputError(
            f"'{odd[0]}' cannot be the name of a site",
            column="site",
            remedy="Name every site, without a leading '_': such names stand for summaries",
            code="site_name",
        )


def _check_splits(table: pd.DataFrame) -> None:
    odd = sorted(set(table["split"]) - set(SPLITS))
    if odd:
        raise InputError(
            f"'{odd[0]}' is not a split",
            column="split",
            remedy=f"Use {', '.join(SPLITS)}; rows to be measured are 'test'",
            code="unknown_split",
        )
    named = table[table["patient"] != ""]
    splits = named.groupby(["site", "patient"])["split"].nunique()
    if (splits > 1).any():
        site = splits.index[splits > 1][0][0]
        raise InputError(
            f"{(splits > 1).sum()} patients have images in two splits, one of them of {site}",
            column="split",
            remedy="Put all images of a patient into one split",
            code="patient_in_two_splits",
        )


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
