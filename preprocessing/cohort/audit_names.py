"""What the names in a cohort table give away: one person twice, one image twice."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.preprocessing.cohort.spellings import alike_patients

_LEAST_SHARED_NAMES = 10
_LEAST_SHARED_SHARE = 0.2


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes
    ----------
    kind : str
        ``identical``, ``near_identical``, ``conflicting_labels``, ``leak``, ``straddling_patient``,
        ``two_names``, ``alike_patients``, ``shared_names``, ``label_shift``, ``giveaway``,
        ``unreadable``.
    severity : {"error", "warning", "note"}
        ``error``: results would be wrong; ``warning``: they may mislead; ``note``: to be known.
    detail : str
        In words.
    rows : tuple of int
        Rows of the table, from 0; empty for what concerns whole sites.
    """

    kind: str
    severity: str
    detail: str
    rows: tuple[int, ...] = ()


def straddling(table: pd.DataFrame) -> list[Finding]:
    """Patients of whom images are in two splits."""
    if "split" not in table.columns:
        return []
    given = table[table["split"] != ""]
    splits = given.groupby("patient")["split"].nunique()
    return [
        Finding(
            "straddling_patient",
            "error",
            f"patient '{patient}' is in splits {' and '.join(sorted(rows['split'].unique()))}",
            tuple(int(row) for row in rows.index),
        )
        for patient, rows in given[given["patient"].isin(splits[splits > 1].index)].groupby(
            "patient"
        )
    ]


def alike(table: pd.DataFrame) -> list[Finding]:
    """Patients of a site who may be one under two spellings: an error where splits part them."""
    splits = table["split"] if "split" in table.columns else pd.Series("", index=table.index)
    found = []
    for rows in alike_patients(table):
        names = " and ".join(f"'{name}'" for name in table["patient"].iloc[rows].unique())
        parted = len(set(splits.iloc[rows]) - {""}) > 1
        detail = f"patients {names} may be one" + (", in two splits" if parted else "")
        severity = "error" if parted else "warning"
        found.append(Finding("alike_patients", severity, detail, tuple(rows)))
    return found


def shared_names(table: pd.DataFrame) -> list[Finding]:
    """File names that two sites share: one may hold the other's images under other bytes."""
    stems = table["image"].map(lambda image: Path(image).stem)
    by_site = {site: set(names) for site, names in stems.groupby(table["site"])}
    found = []
    sites = sorted(by_site)
    for place, one in enumerate(sites):
        for other in sites[place + 1 :]:
            shared = by_site[one] & by_site[other]
            fewer = min(len(by_site[one]), len(by_site[other]))
            if len(shared) < max(_LEAST_SHARED_NAMES, _LEAST_SHARED_SHARE * fewer):
                continue
            rows = stems.isin(shared) & table["site"].isin([one, other])
            detail = f"{len(shared)} file names of {one} are names of {other} too"
            detail += _agreement(table[rows], stems[rows], one, other)
            found.append(
                Finding("shared_names", "error", detail, tuple(np.flatnonzero(rows).tolist()))
            )
    return found


def _agreement(rows: pd.DataFrame, stems: pd.Series, one: str, other: str) -> str:
    labels = [rows[rows["site"] == site].groupby(stems)["label"].first() for site in (one, other)]
    both = pd.concat(labels, axis=1, keys=("one", "other")).dropna()
    both = both[(both["one"] != "") & (both["other"] != "")]
    if both.empty:
        return ""
    same = int((both["one"] == both["other"]).sum())
    return f"; their labels agree on {same} of {len(both)} ({same / len(both):.1%})"
