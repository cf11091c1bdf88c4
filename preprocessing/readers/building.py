"""Cohorts from rows, and cohorts to files."""

import os
from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.formats.companions import companion_files
from offsite.preprocessing.formats.kinds import dicom_series
from offsite.preprocessing.formats.photographs import PHOTOGRAPH_SUFFIXES
from offsite.preprocessing.fundus.grades import GRADES as GRADES
from offsite.preprocessing.slides.formats import SLIDE_SUFFIXES
from offsite.written import replacing_own

IMAGE_SUFFIXES = frozenset((*PHOTOGRAPH_SUFFIXES, *SLIDE_SUFFIXES))
"""Ends of the names of all that offsite reads."""


def images_in(folder: Path) -> tuple[list[Path], set[Path]]:
    """Return the images of one folder by their names, sorted, and the further files of slides.

    A slide is one image, however many files it has: of a DICOM series its largest file stands for
    it, of the files beside a VMS the VMS. What systems hide (``._name``) is left out.
    """
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    named = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    further = {part for path in named for part in companion_files(path)}
    groups = dicom_series([path for path in named if path not in further])
    further |= {part for _, *rest in groups for part in rest}
    return [first for first, *_ in groups], further


def cohort_of(
    rows: list[dict[str, str]], classes: tuple[str, ...], folder: Path, what: str
) -> Cohort:
    """Return a cohort whose table would lie in ``folder`` as cohort.csv.

    Raises
    ------
    InputError
        Code ``no_images``: there are no rows.
    """
    if not rows:
        raise InputError(
            f"no images found ({what})",
            file=folder,
            code="no_images",
            remedy="Name the folder that holds them; docs/cohort.md shows the layouts",
        )
    table = pd.DataFrame(rows).fillna("").astype(str)
    table["mpp"] = float("nan")
    return Cohort(table=table, classes=classes, path=folder / "cohort.csv")


def write_cohort(cohort: Cohort, path: str | Path) -> Path:
    """Write a cohort's table as CSV, or as Parquet by its name's end.

    Its image paths are made relative to the new place; of a cohort that names none there is no column.

    Returns
    -------
    Path
        The file.
    """
    target = Path(path)
    here = Path(os.path.abspath(target.parent))  # noqa: PTH100 -- links must not be resolved
    there = Path(os.path.abspath(cohort.path.parent))  # noqa: PTH100
    table = cohort.table.copy()
    if not cohort.names_images:
        table = table.drop(columns="image")
    elif here != there:
        table["image"] = [os.path.relpath(there / image, here) for image in table["image"]]
    if table["mpp"].isna().all():
        table = table.drop(columns="mpp")
    with replacing_own(target) as temporary:
        if target.suffix.lower() == ".parquet":  # as `load_cohort` will take it
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, lineterminator="\n")
    return target
