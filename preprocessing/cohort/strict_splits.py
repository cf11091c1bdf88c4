"""Clean splits from an audit: no image twice, no patient and no image on both sides."""

import numpy as np
import pandas as pd

from offsite.preprocessing.cohort.audit import Audit
from offsite.preprocessing.cohort.near_duplicates import joined_groups
from offsite.preprocessing.cohort.table import Cohort

# An image that is there twice stays where the result is read, and goes from where it is learnt.
_GUARDED = ("test", "val", "train", "")


def strict_cohort(cohort: Cohort, audit: Audit) -> tuple[Cohort, pd.DataFrame]:
    """Return the cohort without what the audit found, and what was changed.

    Identical images with different labels all go: none of the labels can be trusted. Of other
    identical images one stays: at the site with fewer images, there in the most guarded split
    (test, then val, then train), then the first. The same holds for images whose file name
    two sites share.

    One image under two patients' names shows that they are one person. What is left of a person
    gets one name; what is left at two sites stays at the smaller alone, or one eye would be learnt
    and the other tested. A straddling patient goes as a whole into the most guarded of its splits.

    Returns
    -------
    (Cohort, pandas.DataFrame)
        The second has ``image, site, change`` (``dropped``, ``renamed``, ``moved``), ``reason``.
    """
    table = cohort.table
    splits = _splits(table)
    copies = [*audit.identical, *audit.near, *_shared(cohort, audit)]
    dropped = _spare_copies(table, splits, copies, audit)
    renamed: list[tuple[int, str, str]] = []
    names = table["patient"].copy()
    for rows in _persons(table["patient"], copies):
        left = _at_one_site(table, splits, rows, dropped)
        for row in left:
            if names.iloc[row] != names.iloc[left[0]]:
                names.iloc[row] = names.iloc[left[0]]
                renamed.append((row, "renamed", f"the patient of {table['image'].iloc[left[0]]}"))
    kept = np.setdiff1d(np.arange(len(table)), list(dropped))
    clean = table.assign(patient=names).iloc[kept]
    moved, after = _gathered(clean, splits.iloc[kept])
    changes = [(row, "dropped", reason) for row, reason in sorted(dropped.items())]
    changes += [*renamed, *moved]
    if "split" in table.columns:
        clean["split"] = after
    report = pd.DataFrame(
        {
            "image": [table["image"].iloc[row] for row, _, _ in changes],
            "site": [table["site"].iloc[row] for row, _, _ in changes],
            "change": [change for _, change, _ in changes],
            "reason": [reason for _, _, reason in changes],
        }
    )
    return cohort.with_table(clean), report


def _spare_copies(
    table: pd.DataFrame, splits: pd.Series, copies: list[list[int]], audit: Audit
) -> dict[int, str]:
    """Rows that go, each with the reason: all of a conflicting group, all but one of another."""
    dropped: dict[int, str] = {}
    conflicting = {f.rows for f in audit.findings if f.kind == "conflicting_labels"}
    for group in copies:
        left = [row for row in group if row not in dropped]
        if tuple(group) in conflicting:
            dropped |= dict.fromkeys(left, "identical images with different labels")
        elif len(left) > 1:
            keep = min(left, key=lambda row: _rank(table, splits, row))
            what = f"the same image as {table['image'].iloc[keep]}"
            dropped |= {row: what for row in left if row != keep}
    return dropped


def _at_one_site(
    table: pd.DataFrame, splits: pd.Series, rows: list[int], dropped: dict[int, str]
) -> list[int]:
    """Leave a person's rows at the smaller site alone; the others join ``dropped``."""
    left = [row for row in rows if row not in dropped]
    if not left:
        return []
    home = table["site"].iloc[min(left, key=lambda row: _rank(table, splits, row))]
    away = [row for row in left if table["site"].iloc[row] != home]
    dropped |= dict.fromkeys(away, f"another image shows that this person is at {home} too")
    return [row for row in left if row not in dropped]


def _splits(table: pd.DataFrame) -> pd.Series:
    return table["split"] if "split" in table.columns else pd.Series("", index=table.index)


def _rank(table: pd.DataFrame, splits: pd.Series, row: int) -> tuple[int, int, int]:
    site = table["site"].iloc[row]
    return int((table["site"] == site).sum()), _GUARDED.index(splits.iloc[row]), row


def _persons(patients: pd.Series, copies: list[list[int]]) -> list[list[int]]:
    """Rows of each person whose images lie under several patients' names, in the table's order."""
    codes, _ = pd.factorize(patients)
    links = [(int(codes[group[0]]), int(codes[row])) for group in copies for row in group[1:]]
    joined = joined_groups([(one, other) for one, other in links if one != other])
    return [np.flatnonzero(np.isin(codes, group)).tolist() for group in joined]


def _shared(cohort: Cohort, audit: Audit) -> list[list[int]]:
    """Groups of rows by file name, for the names that two sites share."""
    rows = sorted({row for f in audit.findings if f.kind == "shared_names" for row in f.rows})
    stems = (
        cohort.table["image"].iloc[rows].str.rsplit("/", n=1).str[-1].str.rsplit(".", n=1).str[0]
    )
    return [[int(row) for row in group.index] for _, group in stems.groupby(stems)]


def _gathered(
    table: pd.DataFrame, splits: pd.Series
) -> tuple[list[tuple[int, str, str]], pd.Series]:
    """Put each straddling patient into the most guarded of its splits."""
    after = splits.copy()
    moved = []
    given = splits != ""
    counts = splits[given].groupby(table.loc[given, "patient"]).nunique()
    for patient in counts[counts > 1].index:
        rows = table.index[(table["patient"] == patient) & given]
        target = min(splits.loc[rows], key=_GUARDED.index)
        for row in rows:
            if splits.loc[row] != target:
                after.loc[row] = target
                moved.append((int(row), "moved", f"to {target}, where the patient's others are"))
    return moved, after
