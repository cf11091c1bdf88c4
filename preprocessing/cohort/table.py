"""The cohort table: which image belongs to whom, was made where, and shows what."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.file import REQUIRED, TEXT, read_table
from offsite.preprocessing.cohort.spellings import alike_sites, tidy

SPLITS = ("train", "val", "test")
MAX_NAME_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Images of several sites with their labels; never changed in place.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per image in the order of the file. ``image, patient, site, label, slide`` are text
        (``label`` is "" where unlabelled); ``mpp`` is float (um per px, NaN where not given);
        further columns as they came.
    classes : tuple of str
        Class names in their order (for grades: from mild to severe).
    path : Path
        The file it came from; ``image`` is relative to its folder.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    path: Path

    def image_paths(self) -> list[Path]:
        """Return the path of each image."""
        return [self.path.parent / image for image in self.table["image"]]

    @property
    def sites(self) -> tuple[str, ...]:
        """Site names, sorted."""
        return tuple(sorted(self.table["site"].unique()))

    @property
    def label_indices(self) -> np.ndarray:
        """Index into ``classes`` of each row (int64), -1 where unlabelled."""
        index = {name: number for number, name in enumerate(self.classes)} | {"": -1}
        return self.table["label"].map(index).to_numpy(np.int64)

    def with_table(self, table: pd.DataFrame) -> "Cohort":
        """Return the same cohort over another table (fewer rows, or more columns)."""
        return replace(self, table=table.reset_index(drop=True))


def load_cohort(
    path: str | Path,
    classes: Sequence[str] | None = None,
    *,
    labels_required: bool = False,
    check_images: bool = True,
    allow_straddling: bool = False,
    one_site_each: bool = True,
) -> Cohort:
    """Read and validate a cohort table.

    Parameters
    ----------
    path : path
        CSV or Parquet with ``image, patient, site, label`` and optionally ``slide, split, eye,
        scanner, mpp``; other columns are kept. ``label`` may be blank, and may be missing as a
        column unless ``labels_required``.
    classes : sequence of str, optional
        Class names in order. Without them the labels found, sorted, are the classes.
    labels_required : bool
        Refuse rows without a label.
    check_images : bool
        Refuse rows whose image does not exist.
    allow_straddling : bool
        Let a patient be in two splits, for an audit that finds and mends it.
    one_site_each : bool
        Refuse a patient of two sites, and a site or an image of two spellings (``./a.png``);
        where nothing is trained, nothing can leak.

    Raises
    ------
    InputErrors
        Every fault of the table, each with file, row (the header is row 1), column and remedy.
    """
    file = Path(path)
    table = read_table(file)
    _check_columns(table, file, labels_required)
    table = _normalise(table, file)
    labels = tuple(sorted(set(table["label"]) - {""}))
    names = tuple(classes) if classes is not None else labels
    faults = [
        *_blank_cells(table, file, labels_required),
        *_unknown_labels(table, names, file),
        *_duplicates(table, file, any_spelling=one_site_each),
        *_unsafe_names(table, file),
        *_bad_values(table, file),
        *([] if allow_straddling else _straddling(table, file)),
        *(_sites_spelt_twice(table, file) if one_site_each else []),
        *(_patients_of_two_sites(table, file) if one_site_each else []),
    ]
    if check_images:
        faults += _missing_images(table, file)
    if faults:
        raise InputErrors(faults)
    return Cohort(table=table, classes=names, path=file)


def _check_columns(table: pd.DataFrame, file: Path, labels_required: bool) -> None:
    needed = REQUIRED if labels_required else REQUIRED[:-1]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        near = ", ".join(map(str, table.columns[:12]))
        raise InputError(
            f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)} (found: {near})",
            file=file,
            remedy="Rename or add them; docs/cohort.md shows an example",
            code="missing_column",
        )


def _normalise(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    table = table.copy()
    for name in TEXT:
        if name in table.columns:
            table[name] = table[name].astype("string").fillna("").astype(str).str.strip()
    table["patient"] = table["patient"].map(tidy)
    if "label" not in table.columns:
        table["label"] = ""
    stems = table["image"].map(lambda image: Path(image).stem)
    if "slide" not in table.columns:
        table["slide"] = stems
    else:
        table["slide"] = table["slide"].where(table["slide"] != "", stems)
    if "mpp" in table.columns:
        text = table["mpp"].astype("string").fillna("").str.strip()
        number = pd.to_numeric(text.where(text != ""), errors="coerce")
        wrong = np.flatnonzero((text != "").to_numpy() & number.isna().to_numpy())
        if len(wrong):
            raise InputErrors(
                [
                    InputError(
                        f"'{text.iloc[row]}' is not a number",
                        file=file,
                        row=int(row) + 2,
                        column="mpp",
                        remedy="Give micrometres per pixel such as 0.25, or leave it blank",
                    )
                    for row in wrong
                ]
            )
        table["mpp"] = number.astype(float)
    else:
        table["mpp"] = np.nan
    return table.reset_index(drop=True)


def _faults(
    rows: np.ndarray, file: Path, column: str, problem: str, remedy: str, table: pd.DataFrame
) -> list[InputError]:
    """One fault per row; ``{}`` in the problem stands for the cell's value, never a patient's."""
    return [
        InputError(
            problem.format(table[column].iloc[row]),
            file=file,
            row=int(row) + 2,
            column=column,
            remedy=remedy,
        )
        for row in rows
    ]


def _blank_cells(table: pd.DataFrame, file: Path, labels_required: bool) -> list[InputError]:
    faults: list[InputError] = []
    for column in REQUIRED if labels_required else REQUIRED[:-1]:
        rows = np.flatnonzero((table[column] == "").to_numpy())
        remedy = (
            "Every patient needs a name: images without one cannot be kept out of two splits"
            if column == "patient"
            else "Fill the cell or remove the row"
        )
        faults += _faults(rows, file, column, "the cell is blank", remedy, table)
    return faults


def _unknown_labels(table: pd.DataFrame, classes: tuple[str, ...], file: Path) -> list[InputError]:
    if len(set(classes)) < len(classes):
        return [
            InputError(
                "a class is named twice", file=file, remedy="Give each class once", column="label"
            )
        ]
    rows = np.flatnonzero(~table["label"].isin([*classes, ""]).to_numpy())
    remedy = f"The classes are {', '.join(classes)}; leave the cell blank if unlabelled"
    return _faults(rows, file, "label", "'{}' is not a class", remedy, table)


def _duplicates(table: pd.DataFrame, file: Path, *, any_spelling: bool) -> list[InputError]:
    paths = table["image"].map(os.path.normpath) if any_spelling else table["image"]
    images = np.flatnonzero((paths.duplicated() & (table["image"] != "")).to_numpy())
    slides = np.flatnonzero((table["slide"].duplicated() & (table["slide"] != "")).to_numpy())
    slides = np.setdiff1d(slides, images)  # an image named twice is one fault, not two
    return [
        *_faults(images, file, "image", "'{}' is named twice", "Keep one row per image", table),
        *_faults(
            slides, file, "slide", "'{}' names two images",
            "Add a column 'slide' with a different identifier for each image", table,
        ),
    ]  # fmt: skip


def _unsafe_names(table: pd.DataFrame, file: Path) -> list[InputError]:
    faults: list[InputError] = []
    for column in ("slide", "site", "patient"):
        values = table[column]
        unsafe = (
            values.str.contains(r"[\x00-\x1f\x7f]", regex=True)
            | (values.map(lambda name: len(name.encode())) > MAX_NAME_LENGTH)
            | ((column == "slide") & values.str.contains(r"[/\\]|^\.", regex=True))
            | ((column == "site") & values.str.startswith("_"))
        )
        remedy = (
            f"Use at most {MAX_NAME_LENGTH} printable characters, fewer beyond Latin"
            " (a slide: no slash, no leading dot; a site: no leading underscore)"
        )
        what = "the cell" if column == "patient" else "{!r}"
        faults += _faults(
            np.flatnonzero(unsafe.to_numpy()), file, column, f"{what} cannot be used as a name",
            remedy, table,
        )  # fmt: skip
    return faults


def _bad_values(table: pd.DataFrame, file: Path) -> list[InputError]:
    mpp = table["mpp"].to_numpy()
    faults = _faults(
        np.flatnonzero(~np.isnan(mpp) & ~((mpp > 0.05) & (mpp < 20))), file, "mpp",
        "{} um per px is not plausible", "Scanners give 0.1 to 10; check the unit", table,
    )  # fmt: skip
    if "split" in table.columns:
        rows = np.flatnonzero(~table["split"].isin([*SPLITS, ""]).to_numpy())
        faults += _faults(
            rows, file, "split", "'{}' is not a split", f"Use {', '.join(SPLITS)}", table
        )
    return faults


def _straddling(table: pd.DataFrame, file: Path) -> list[InputError]:
    if "split" not in table.columns:
        return []
    given = table[table["split"] != ""]
    splits = given.groupby("patient")["split"].nunique()
    straddling = set(splits[splits > 1].index)
    rows = np.flatnonzero(table["patient"].isin(straddling).to_numpy())
    return _faults(
        rows[:1] if len(straddling) == 1 else rows, file, "split",
        "the patient of this row is in two splits",
        "Put every image of a patient into one split, or leave 'split' out", table,
    )  # fmt: skip


def _sites_spelt_twice(table: pd.DataFrame, file: Path) -> list[InputError]:
    return [
        InputError(
            f"'{table['site'].iloc[row]}' is another spelling of '{most}'",
            file=file, row=row + 2, column="site",
            remedy="Spell each site in one way, or one that is held out is trained on",
        )
        for row, most in alike_sites(table)
    ]  # fmt: skip


def _patients_of_two_sites(table: pd.DataFrame, file: Path) -> list[InputError]:
    named = table[(table["patient"] != "") & (table["site"] != "")]
    sites = named.groupby("patient")["site"].nunique()
    rows = np.flatnonzero(table["patient"].isin(sites[sites > 1].index).to_numpy())
    return _faults(
        rows, file, "patient", "the patient of this row appears at two sites",
        "If these are different people, put the site into the patient's name (a-17, b-17); if it"
        " is one person, keep the images of one site, or they leak from training to testing",
        table,
    )  # fmt: skip


def _missing_images(table: pd.DataFrame, file: Path) -> list[InputError]:
    root = file.parent
    exists = np.array([image == "" or (root / image).exists() for image in table["image"]])
    return _faults(
        np.flatnonzero(~exists), file, "image", "no such file '{}'",
        "Paths are relative to the table's folder", table,
    )  # fmt: skip
