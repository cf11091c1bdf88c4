"""What ``offsite cohort check --shortcuts`` reads of the images and says of them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import Cohort

if TYPE_CHECKING:
    from offsite.children.pool import Place

NOTABLE = 0.6
_WORDS = {
    "within": "label, within the site",
    "across": "label, from other sites",
    "tells_sites": "site, among the others",
}


def shortcuts_of(
    cohort: Cohort,
    positive: Sequence[str],
    *,
    slides: bool,
    place: "Place",
    workers: int,
    progress: Callable[[], object],
) -> tuple[pd.DataFrame, int]:
    """Return the table of shortcuts, and how many labelled images could not be read.

    Raises
    ------
    InputError
        A class is named that the cohort has not, or none or all are positive.
    """
    from offsite.evaluation.shift.shortcuts import shortcut_table
    from offsite.workflows.stages.shortcuts import read_nuisances

    chosen = tuple(positive) or cohort.classes[1:]
    unknown = sorted(set(chosen) - set(cohort.classes))
    if unknown or not 0 < len(set(chosen)) < len(cohort.classes):
        raise InputError(
            f"no class '{unknown[0]}'" if unknown else "some classes are positive, and not all",
            file=cohort.path, column="label",
            remedy=f"Name some of {', '.join(cohort.classes)} with --positive",
        )  # fmt: skip
    labelled = cohort.table["label"].to_numpy(str) != ""
    paths = [path for path, known in zip(cohort.image_paths(), labelled, strict=True) if known]

    rows = cohort.table[labelled]
    found = read_nuisances(
        paths, rows["mpp"].to_numpy(float), slides=slides, place=place, workers=workers,
        progress=progress,
    )  # fmt: skip
    known = np.array([one is not None for one in found], dtype=bool)
    rows = rows[known]
    numbers = np.array([one for one in found if one is not None]).reshape(len(rows), -1)
    table = shortcut_table(
        numbers, rows["label"].isin(chosen).to_numpy(), rows["site"].to_numpy(str),
        rows["patient"].to_numpy(str),
    )  # fmt: skip
    return table, int((~known).sum())


def show_shortcuts(table: pd.DataFrame, unread: int) -> None:
    """Print the table, and a sentence on what it means."""
    from offsite.workflows.console.messages import data
    from offsite.workflows.console.tables import plain_table

    shown = plain_table("Colour, sharpness, size and storage alone tell")
    for column in ("site", "what", "AUROC", "95 % interval", "images", "patients"):
        shown.add_column(column, justify="left" if column in ("site", "what") else "right")
    for row in table.to_dict("records"):
        said = row["reason"] == "ok"
        shown.add_row(
            str(row["site"]), _WORDS[row["kind"]],
            f"{row['auroc']:.2f}" if said else "–",
            f"{row['low']:.2f} to {row['high']:.2f}" if said else row["reason"].replace("_", " "),
            str(row["n"]), str(row["n_patients"]),
        )  # fmt: skip
    data.print(shown)
    data.print(sentence(table), soft_wrap=True)
    if unread:
        data.print(f"{unread} labelled images could not be read")


def sentence(table: pd.DataFrame) -> str:
    """Return what the table says, in words.

    Examples
    --------
    >>> row = {"site": "north", "kind": "within", "auroc": 0.8, "low": 0.7, "high": 0.9, "reason": "ok"}
    >>> sentence(pd.DataFrame([row]))
    'At north what a picture shows of its camera ranks the label (lower bound above 0.6): a model can learn that instead of disease, and another hospital does not share it. Compare its AUROC at a site left out with these figures.'
    """
    told = table[(table["reason"] == "ok") & (table["low"] > NOTABLE)]
    within = told.loc[told["kind"] == "within", "site"].tolist()
    across = told.loc[told["kind"] == "across", "site"].tolist()
    parts = []
    if within:
        parts.append(
            f"At {', '.join(within)} what a picture shows of its camera ranks the label (lower bound"
            f" above {NOTABLE}): a model can learn that instead of disease, and another hospital does"
            " not share it. Compare its AUROC at a site left out with these figures."
        )
    if across:
        parts.append(
            f"At {', '.join(across)} even numbers learnt at the other sites rank it: disease may"
            " colour these pictures, or all sites have one habit."
        )
    return " ".join(parts) or "No shortcut is shown: no lower bound lies above 0.6."
