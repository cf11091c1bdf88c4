"""Faults of a cohort table: each names its row, column and remedy."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.preprocessing.cohort.spellings import alike_labels, alike_sites
from offsite.tables.faults import faults_at, rows_where
from offsite.tables.words import MISSING, plain

REQUIRED = ("image", "patient", "site", "label")
MAX_NAME_LENGTH = 200
# Grades are called "none", and a class may well be called "unknown" where it is asked for.
_NO_LABEL = MISSING - {"none"}


def blank_cells(table: pd.DataFrame, file: Path, labels_required: bool) -> list[InputError]:
    """Cells without which a row means nothing."""
    faults: list[InputError] = []
    for column in REQUIRED if labels_required else REQUIRED[:-1]:
        rows = np.flatnonzero((table[column] == "").to_numpy())
        remedy = (
            "Every patient needs a name: images without one cannot be kept out of two splits"
            if column == "patient"
            else "Fill the cell or remove the row"
        )
        faults += faults_at(rows, file, column, "the cell is blank", remedy, table, "blank")
    return faults


def label_faults(
    table: pd.DataFrame, classes: Sequence[str] | None, file: Path
) -> list[InputError]:
    """Labels that are no class; where classes are not given, labels that cannot be classes."""
    if classes is not None:
        return _unknown_labels(table, classes, file)
    return [
        *faults_at(
            rows_where(table["label"], lambda label: plain(label) in _NO_LABEL),
            file,
            "label",
            "'{}' says that there is no value",
            "Leave the cell blank if unlabelled; if it is a class, name the classes",
            table,
            "missing_word",
        ),
        *_spelt_twice(alike_labels(table), table, file, "label"),
    ]


def _unknown_labels(table: pd.DataFrame, classes: Sequence[str], file: Path) -> list[InputError]:
    if len(set(classes)) < len(classes):
        return [
            InputError(
                "a class is named twice",
                file=file,
                remedy="Give each class once",
                column="label",
                code="class_twice",
            )
        ]
    rows = np.flatnonzero(~table["label"].isin([*classes, ""]).to_numpy())
    remedy = f"The classes are {', '.join(classes)}; leave the cell blank if unlabelled"
    return faults_at(rows, file, "label", "'{}' is not a class", remedy, table, "unknown_label")


def duplicates(table: pd.DataFrame, file: Path, *, any_spelling: bool) -> list[InputError]:
    """Images and slides named twice."""
    paths = table["image"].map(os.path.normpath) if any_spelling else table["image"]
    images = np.flatnonzero((paths.duplicated() & (table["image"] != "")).to_numpy())
    slides = np.flatnonzero((table["slide"].duplicated() & (table["slide"] != "")).to_numpy())
    slides = np.setdiff1d(slides, images)  # an image named twice is one fault, not two
    one_row = "Keep one row per image"
    other_name = "Add a column 'slide' with a different identifier for each image"
    return [
        *faults_at(images, file, "image", "'{}' is named twice", one_row, table, "image_twice"),
        *faults_at(
            slides, file, "slide", "'{}' names two images", other_name, table, "slide_twice"
        ),
    ]


def unsafe_names(table: pd.DataFrame, file: Path) -> list[InputError]:
    """Names that cannot name files and rows of reports."""
    faults: list[InputError] = []
    for column in ("slide", "site", "patient"):
        values = table[column]
        unsafe = (
            values.str.contains(r"[\x00-\x1f\x7f]", regex=True)
            | ((column == "patient") & values.map(_has_unseen))
            | (values.map(lambda name: len(name.encode())) > MAX_NAME_LENGTH)
            | ((column == "slide") & values.str.contains(r"[/\\]|^\.", regex=True))
            | ((column == "site") & values.str.startswith("_"))
        )
        remedy = (
            f"Use at most {MAX_NAME_LENGTH} printable characters, fewer beyond Latin"
            " (a slide: no slash, no leading dot; a site: no leading underscore)"
        )
        what = "the cell" if column == "patient" else "{!r}"
        rows = np.flatnonzero(unsafe.to_numpy())
        problem = f"{what} cannot be used as a name"
        faults += faults_at(rows, file, column, problem, remedy, table, "unsafe_name")
    return faults


def _has_unseen(name: str) -> bool:
    """Whether letters of a name cannot be seen, so that two names look like one."""
    return not name.isascii() and any(unicodedata.category(letter) == "Cf" for letter in name)


def implausible_scales(table: pd.DataFrame, file: Path) -> list[InputError]:
    """Micrometres per px that no scanner gives."""
    mpp = table["mpp"].to_numpy()
    rows = np.flatnonzero(~np.isnan(mpp) & ~((mpp > 0.05) & (mpp < 20)))
    problem, remedy = "{} um per px is not plausible", "Scanners give 0.1 to 10; check the unit"
    return faults_at(rows, file, "mpp", problem, remedy, table, "mpp_implausible")


def straddling(table: pd.DataFrame, file: Path) -> list[InputError]:
    """Patients of whom images are in two splits."""
    if "split" not in table.columns:
        return []
    given = table[table["split"] != ""]
    splits = given.groupby("patient")["split"].nunique()
    patients = set(splits[splits > 1].index)
    rows = np.flatnonzero(table["patient"].isin(patients).to_numpy())
    return faults_at(
        rows[:1] if len(patients) == 1 else rows,
        file,
        "split",
        "the patient of this row is in two splits",
        "Put every image of a patient into one split, or leave 'split' out",
        table,
        "two_splits",
    )


def sites_spelt_twice(table: pd.DataFrame, file: Path) -> list[InputError]:
    """Sites in two spellings."""
    return _spelt_twice(alike_sites(table), table, file, "site")


def _spelt_twice(
    others: list[tuple[int, str]], table: pd.DataFrame, file: Path, column: str
) -> list[InputError]:
    remedy = {
        "site": "Spell each site in one way, or one that is held out is trained on",
        "label": "Spell each class in one way; if they are two, name the classes",
    }[column]
    return [
        fault
        for row, most in others
        for fault in faults_at(
            [row],
            file,
            column,
            f"'{{}}' is another spelling of '{most.replace('{', '{{').replace('}', '}}')}'",
            remedy,
            table,
            "two_spellings",
        )
    ]


def patients_of_two_sites(table: pd.DataFrame, file: Path) -> list[InputError]:
    """Patients who appear at two sites."""
    named = table[(table["patient"] != "") & (table["site"] != "")]
    sites = named.groupby("patient")["site"].nunique()
    rows = np.flatnonzero(table["patient"].isin(sites[sites > 1].index).to_numpy())
    return faults_at(
        rows,
        file,
        "patient",
        "the patient of this row appears at two sites",
        "If these are different people, put the site into the patient's name (a-17, b-17); if it"
        " is one person, keep the images of one site, or they leak from training to testing",
        table,
        "two_sites",
    )
