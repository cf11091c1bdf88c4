"""The cohort table: which image belongs to whom, was made where, and shows what."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort import faults as of
from offsite.preprocessing.cohort.missing_images import missing_images
from offsite.tables.faults import faults_at, no_names
from offsite.tables.reading import TextTable, read_table
from offsite.tables.words import EYES, SPLITS, columns_of_splits, read_numbers, read_words, tidy

TEXT = (*of.REQUIRED, "slide", "split", "eye", "scanner")
COLUMNS = (*TEXT, "mpp")


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Images of several sites with their labels; never changed in place.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per image in the order of the file. ``image, patient, site, label, slide`` are text
        (``label`` is "" where unlabelled), ``eye`` is ``left``, ``right`` or ""; ``mpp`` is float (um per px, NaN where not given);
        further columns as they came.
    classes : tuple of str
        Class names in their order (for grades: from mild to severe).
    path : Path
        The file it came from; ``image`` is relative to its folder.
    names_images : bool
        Whether the file has a column ``image``; without, the slide's name stands in its place.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    path: Path
    names_images: bool = True

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
    images_named: bool | None = True,
    allow_straddling: bool = False,
    one_site_each: bool = True,
) -> Cohort:
    """Read and validate a cohort table.

    Parameters
    ----------
    path : path
        CSV or Parquet with ``image, patient, site, label`` and optionally ``slide, split, eye,
        scanner, mpp``; other columns are kept. ``label`` may be blank, and may be missing as a
        column unless ``labels_required``. docs/cohort.md lists the spellings that are read.
    classes : sequence of str, optional
        Class names in order. Without them the table's labels, sorted, are the classes.
    labels_required : bool
        Refuse rows without a label.
    check_images : bool
        Refuse rows whose image does not exist.
    images_named : bool
        Whether rows must name an image. Without, ``slide`` may stand in its place (and is then the
        ``image`` of the cohort), and images are not looked for. None: where it has no column ``image``.
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
    cohort, faults = read_cohort(
        path,
        classes,
        labels_required=labels_required,
        images_named=images_named,
        allow_straddling=allow_straddling,
        one_site_each=one_site_each,
    )
    if check_images and (images_named or (images_named is None and cohort.names_images)):
        faults += missing_images(cohort.table, cohort.path)
    if faults:
        raise InputErrors(faults)
    return cohort.with_table(cohort.table)


def read_cohort(
    path: str | Path,
    classes: Sequence[str] | None = None,
    *,
    labels_required: bool = False,
    images_named: bool | None = True,
    allow_straddling: bool = False,
    one_site_each: bool = True,
) -> tuple[Cohort, list[InputError]]:
    """Read a cohort table together with its faults, for those who answer the rows without any.

    Takes what `load_cohort` takes. The index of the cohort's table is the row in the file, as the
    faults name it. Images are not looked for.

    Raises
    ------
    InputError
        The file is no table, or a column is missing.
    """
    file = Path(path)
    return checked_cohort(
        read_table(file, COLUMNS),
        file,
        classes,
        labels_required=labels_required,
        images_named=images_named,
        allow_straddling=allow_straddling,
        one_site_each=one_site_each,
    )


def checked_cohort(
    source: TextTable,
    file: Path,
    classes: Sequence[str] | None = None,
    *,
    labels_required: bool = False,
    images_named: bool | None = True,
    allow_straddling: bool = False,
    one_site_each: bool = True,
) -> tuple[Cohort, list[InputError]]:
    """Return the cohort of rows that were read already, as `read_cohort` does of a file's."""
    names_images = "image" in source.rows.columns
    images_named = (
        names_images or "slide" not in source.rows if images_named is None else images_named
    )
    if not images_named:
        source = _with_slides_as_images(source)
    _check_columns(source.rows, file, labels_required, images_named)
    if "split" not in source.rows:
        _check_no_split(source.rows, file)
    table, faults = _normalise(source, file)
    if classes is not None:
        known = {tidy(name): name for name in classes}
        table["label"] = table["label"].map(lambda label: known.get(label, label))
    names = tuple(classes) if classes is not None else tuple(sorted({*table["label"]} - {""}))
    slides_named = "slide" in source.rows.columns
    faults = [
        *of.blank_cells(table, file, labels_required),
        *no_names(table, file, ["patient", "site", *(["slide"] if slides_named else [])]),
        *of.label_faults(table, classes, file),
        *of.duplicates(table, file, any_spelling=one_site_each),
        *of.unsafe_names(table, file),
        *of.implausible_scales(table, file),
        *faults,
        *([] if allow_straddling else of.straddling(table, file)),
        *(of.sites_spelt_twice(table, file) if one_site_each else []),
        *(of.patients_of_two_sites(table, file) if one_site_each else []),
    ]
    return Cohort(table=table, classes=names, path=file, names_images=names_images), faults


def _check_columns(
    table: pd.DataFrame, file: Path, labels_required: bool, images_named: bool
) -> None:
    needed = of.REQUIRED if labels_required else of.REQUIRED[:-1]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        near = ", ".join(map(str, table.columns[:12]))
        remedy = "Rename or add them; docs/cohort.md shows an example"
        if not images_named:
            missing = ["slide" if name == "image" else name for name in missing]
            remedy = (
                "Rename or add them; of CLAM's and STAMP's tables `offsite cohort read` makes this"
                " one (docs/features_and_labels.md)"
            )
        elif missing == ["image"] and "slide" in table.columns:
            remedy = (
                "Name the slides' files, or in the job the folder of their features"
                " (docs/features_and_labels.md); `offsite cohort check --no-images` looks at the table alone"
            )
        raise InputError(
            f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)} (found: {near})",
            file=file,
            remedy=remedy,
            code="missing_column",
        )


def _with_slides_as_images(source: TextTable) -> TextTable:
    """The table with each slide in the place of an image that is not named."""
    rows = source.rows.copy()
    if "slide" in rows.columns:
        slides = rows["slide"].astype("string").fillna("").astype(str).str.strip()
        named = rows["image"] if "image" in rows.columns else pd.Series("", index=rows.index)
        images = named.astype("string").fillna("").astype(str).str.strip()
        rows["image"] = images.where(images != "", slides)
    return replace(source, rows=rows)


def _check_no_split(rows: pd.DataFrame, file: Path) -> None:
    """Refuse a table whose split stands under another name: it would be divided anew."""
    others = columns_of_splits(rows.drop(columns=list(of.REQUIRED), errors="ignore"))
    if others:
        raise InputError(
            f"column '{others[0]}' looks like the split, and none is called 'split'",
            file=file,
            row=1,
            code="unclear_column",
            remedy="Call it split; if it is none, add a column split with blank cells",
        )


def _normalise(source: TextTable, file: Path) -> tuple[pd.DataFrame, list[InputError]]:
    """The table with tidy text and known words, and the cells that mean nothing."""
    table = source.rows.copy()
    faults: list[InputError] = []
    for name in TEXT:
        if name in table.columns:
            table[name] = table[name].astype("string").fillna("").astype(str).str.strip()
    for name in ("patient", "site", "label"):
        if name in table.columns:
            table[name] = table[name].map({cell: tidy(cell) for cell in table[name].unique()})
    if "label" not in table.columns:
        table["label"] = ""
    stems = table["image"].map(lambda image: Path(image).stem)
    table["slide"] = (
        stems if "slide" not in table else table["slide"].where(table["slide"] != "", stems)
    )
    for name, words, what, remedy in _VOCABULARIES:
        if name in table.columns:
            table[name], wrong = read_words(table[name], words)
            problem = f"'{{}}' is not {what}"
            faults += faults_at(wrong, file, name, problem, remedy, table, f"unknown_{name}")
    if "mpp" in table.columns:
        numbers, wrong = read_numbers(table["mpp"], decimal_comma=source.decimal_comma)
        remedy = "Give micrometres per pixel such as 0.25, or leave it blank"
        faults += faults_at(wrong, file, "mpp", "'{}' is not a number", remedy, table, "no_number")
        table["mpp"] = numbers
    else:
        table["mpp"] = np.nan
    return table, faults


_VOCABULARIES = (
    ("split", SPLITS, "a split", f"Use {', '.join(SPLITS)}, or leave it blank"),
    ("eye", EYES, "an eye", "Use left or right (OS or OD, L or R), or leave it blank"),
)
