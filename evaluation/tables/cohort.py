"""Whose images a predictions table holds: a row per site and split, with the labels counted."""

import pandas as pd

from offsite.evaluation.statistics.sites import Sites


def cohort_table(sites: Sites) -> pd.DataFrame:
    """Images, patients and labels by site and split.

    Returns
    -------
    pandas.DataFrame
        ``site, site_role, split, n, n_patients, n_labelled`` and ``label_<class>`` for every
        class; training sites first, splits in the order train, val, test.
    """
    table = sites.predictions.table[["site", "split", "label"]].assign(
        site_role=sites.roles.site_role, patient=sites.patients
    )
    order = {"train": 0, "val": 1, "test": 2}
    rows = []
    for key, part in table.groupby(["site", "site_role", "split"], sort=True):
        site, role, split = (str(name) for name in key)
        counts = part["label"].value_counts()
        rows.append(
            {
                "site": site,
                "site_role": role,
                "split": split,
                "n": len(part),
                "n_patients": part["patient"].nunique(),
                "n_labelled": int((part["label"] != "").sum()),
                **{f"label_{name}": int(counts.get(name, 0)) for name in sites.predictions.classes},
            }
        )
    cohort = pd.DataFrame(rows)
    held_out, split_rank = cohort["site_role"] != "training", cohort["split"].map(order).fillna(3)
    cohort = cohort.assign(_role=held_out, _split=split_rank).sort_values(
        ["_role", "site", "_split"]
    )
    return cohort.drop(columns=["_role", "_split"]).reset_index(drop=True)
