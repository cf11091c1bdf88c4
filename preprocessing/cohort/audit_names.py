"""What the names in a cohort table give away: one person twice, one image twice."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.preprocessing.cohort.spellings import alike_patients

_LEAST_SHARED_NAMES = 10
_LEAST_SHARED_SHARE = 0.2


@dataclass(frozen=True)
class AuditFinding:
    """One fault or peculiarity of a cohort.

    Attributes
    ----------
    kind : str
        ``identical``, ``near_identical``, ``conflicting_labels``, ``leak``, ``straddling_patient``,
        ``two_names``, ``alike_patients``, ``shared_names``, ``label_shift``, ``giveaway``,
        ``unreadable``.
    severity : {"error", "warning", "note"}
        ``error``: results would be wrong; ``warning``: they may mislead; ``note``: good to know.
    detail : str
        What was seen, for a person to read.
    rows : tuple of int
        Rows of the table, from 0; empty for what concerns whole sites.
    """

    kind: str
    severity: str
    detail: str
    rows: tuple[int, ...] = ()


def straddling(table: pd.DataFrame) -> list[AuditFinding]:
    """Patients of whom images are in two splits."""
    if "split" not in table.columns:
        return []
    given = table[table["split"] != ""]
    splits = given.groupby("patient")["split"].nunique()
    return [
        AuditFinding(
            "straddling_patient",
            "error",
            f"patient '{patient}' is in splits {' and '.join(sorted(rows['split'].unique()))}",
            tuple(int(row) for row in rows.index),
        )
        for patient, rows in given[given["patient"].isin(splits[splits > 1].index)].groupby(
            "patient"
        )
    ]


def alike(table: pd.DataFrame) -> list[AuditFinding]:
    """Patients of a site who may be one under two spellings: an error where splits part them."""
    splits = table["split"] if "split" in table.columns else pd.Series("", index=table.index)
    findings = []
    for rows in alike_patients(table):
        names = " and ".join(f"'{name}'" for name in table["patient"].iloc[rows].unique())
        parted = len(set(splits.iloc[rows]) - {""}) > 1
        detail = f"patients {names} may be one" + (", in two splits" if parted else "")
        severity = "error" if parted else "warning"
        findings.append(AuditFinding("alike_patients", severity, detail, tuple(rows)))
    return findings


def shared_names(table: pd.DataFrame) -> list[AuditFinding]:
    """File names that two sites share: one may hold the other's images under other bytes."""
    stems = table["image"].map(lambda image: Path(image).stem)
    by_site = {site: set(names) for site, names in stems.groupby(table["site"])}
    findings = []
    sites = sorted(by_site)
    for number, one in enumerate(sites):
        for other in sites[number + 1 :]:
            shared = by_site[one] & by_site[other]
            fewer = min(len(by_site[one]), len(by_site[other]))
            if len(shared) < max(_LEAST_SHARED_NAMES, _LEAST_SHARED_SHARE * fewer):
                continue
            rows = stems.isin(shared) & table["site"].isin([one, other])
            detail = f"{len(shared)} file names of {one} are names of {other} too"
            detail += _agreement(table[rows], stems[rows], one, other)
            findings.append(
                AuditFinding("shared_names", "error", detail, tuple(np.flatnonzero(rows).tolist()))
            )
    return findings


def _agreement(rows: pd.DataFrame, stems: pd.Series, one: str, other: str) -> str:
    labels = [rows[rows["site"] == site].groupby(stems)["label"].first() for site in (one, other)]
    both = pd.concat(labels, axis=1, keys=("one", "other")).dropna()
    both = both[(both["one"] != "") & (both["other"] != "")]
    if both.empty:
        return ""
    same = int((both["one"] == both["other"]).sum())
    return f"; their labels agree on {same} of {len(both)} ({same / len(both):.1%})"
