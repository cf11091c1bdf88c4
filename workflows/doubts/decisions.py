"""Decisions that people wrote into ``doubts.csv``, beside the labels and never in their place."""

from pathlib import Path

import pandas as pd

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.table import Cohort
from offsite.tables.reading import read_table
from offsite.workflows.doubts.writing import unescaped

COLUMN, UNSURE = "decision", "unsure"
_NEEDED = ("image", "label", COLUMN)


def with_decisions(cohort: Cohort, file: Path) -> Cohort:
    """Return a cohort with column ``decision``, blank where nobody decided; its labels stay.

    Raises
    ------
    InputErrors
        The table lacks a column; a row's image is not in the cohort or stands twice
        (``unknown_image``, ``decided_twice``), its label is another than the cohort's
        (``other_label``: somebody changed one of them since), or its decision is no class and not
        ``unsure`` (``unknown_decision``).
    InputError
        Code ``column_there``: the cohort has a column ``decision`` already.
    """
    if COLUMN in cohort.table:
        raise InputError(
            f"the cohort has a column '{COLUMN}' already", file=cohort.path, column=COLUMN,
            remedy="Rename it, so that no decision is overwritten", code="column_there",
        )  # fmt: skip
    rows = read_table(file, _NEEDED).rows
    if missing := [name for name in _NEEDED if name not in rows]:
        raise InputError(
            f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)}", file=file,
            remedy="Give doubts.csv as `offsite cohort doubts` wrote it, with its decisions",
            code="missing_column",
        )  # fmt: skip
    known = dict(zip(cohort.table["image"], cohort.table["label"], strict=True))
    decided: dict[str, str] = {}
    faults: list[InputError] = []
    cells = rows[list(_NEEDED)].astype("string").fillna("")
    for number, row in zip(cells.index, cells.to_dict("records"), strict=True):
        image, label, decision = (unescaped(str(row[name]).strip()) for name in _NEEDED)
        if not decision:
            continue
        fault = _fault(image, label, decision, known, decided, cohort)
        if fault is None:
            decided[image] = decision
        else:
            fault.file, fault.row = str(file), int(number)
            faults.append(fault)
    if faults:
        raise InputErrors(faults)
    column = pd.Series([decided.get(image, "") for image in cohort.table["image"]])
    return cohort.with_table(cohort.table.assign(**{COLUMN: column.to_numpy()}))


def _fault(
    image: str, label: str, decision: str, known: dict[str, str], decided: dict[str, str],
    cohort: Cohort,
) -> InputError | None:  # fmt: skip
    if image not in known:
        return InputError(
            "this image is not in the cohort", column="image", code="unknown_image",
            remedy="Name it as the cohort does, or remove the row",
        )  # fmt: skip
    if label != known[image]:
        return InputError(
            f"the label was {label} when the list was made, and is {known[image]} now",
            column="label", code="other_label",
            remedy="Make the list again (`offsite cohort doubts`), and decide on it",
        )  # fmt: skip
    if decision not in (*cohort.classes, UNSURE):
        return InputError(
            f"'{decision}' is no decision", column=COLUMN, code="unknown_decision",
            remedy=f"Write {', '.join(cohort.classes)} or {UNSURE}, or leave it blank",
        )  # fmt: skip
    if decided.get(image, decision) != decision:
        return InputError(
            "this image is decided on twice, and differently", column="image",
            code="decided_twice", remedy="Keep one of the rows",
        )  # fmt: skip
    return None


def told(cohort: Cohort) -> str:
    """Say how many cases were decided on, and how many of these otherwise than they are labelled."""
    rows = cohort.table[cohort.table[COLUMN] != ""]
    other = ~rows[COLUMN].isin([UNSURE]) & (rows[COLUMN] != rows["label"])
    return (
        f"{len(rows)} cases were decided on: {int(other.sum())} otherwise than they are labelled,"
        f" {int((rows[COLUMN] == UNSURE).sum())} unsure. Labels are as they were; the decisions"
        f" stand in column '{COLUMN}'."
    )
