"""Whose images a predictions table holds: a row per site and split, with the labels counted."""

import pandas as pd

from offsite.evaluation.predictions.checks import SPLITS
from offsite.evaluation.predictions.roles import TRAINING
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS


def cohort_table(sites: Sites) -> pd.DataFrame:
    """Images, patients and labels by site and split: training sites first, splits in their order."""
    table = sites.predictions.table[["site", "split", "label"]].assign(
        site_role=sites.roles.site_role, patient=sites.patients
    )
    rows = []
    for key, part in table.groupby(["site", "site_role", "split"]):
        counts = part["label"].value_counts()
        rows.append(
            {
                "site": str(key[0]),
                "site_role": str(key[1]),
                "split": str(key[2]),
                "n": len(part),
                "n_patients": part["patient"].nunique(),
                "n_labelled": int((part["label"] != "").sum()),
                **{f"label_{name}": int(counts.get(name, 0)) for name in sites.predictions.classes},
            }
        )
    rows.sort(
        key=lambda row: (row["site_role"] != TRAINING, row["site"], SPLITS.index(row["split"]))
    )
    return SCHEMAS["cohort"].frame(rows, more=sites.predictions.classes)
