"""``offsite cohort read``: a cohort table from folders, a file of images, or another tool's tables."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from offsite.preprocessing.cohort.table import Cohort


class Layout(StrEnum):
    """How images and labels lie on disk."""

    GDRBENCH = "gdrbench"
    CLASS_FOLDERS = "class-folders"
    MEDMNIST = "medmnist"
    CLAM = "clam"
    STAMP = "stamp"
    TABLE = "table"


_LABEL_TABLES = (Layout.CLAM, Layout.STAMP)


def read(
    source: Annotated[
        Path, typer.Argument(help="Folder, MedMNIST .npz, or a table: CLAM's, STAMP's, a cohort's.")
    ],
    layout: Annotated[Layout, typer.Option(help="How it lies on disk.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The cohort table to write.")],
    classes: Annotated[str, typer.Option(help="Class names in order, separated by commas.")] = "",
    held_out: Annotated[
        list[str] | None, typer.Option(help="GDRBench site that is test throughout; repeatable.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of GDRBench's lists; default: SOURCE/splits.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Name of the one site of class folders or of a table.")
    ] = None,
    site_column: Annotated[
        str | None, typer.Option(help="Column of CLAM's or STAMP's table that says the site.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the label; CLAM's is label, STAMP's is named.")
    ] = None,
    slides: Annotated[
        Path | None, typer.Option(help="STAMP's table of slides: PATIENT, FILENAME.")
    ] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression with one group: patient in a file name.")
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="doubts.csv with its decisions, which become a column beside the label."),
    ] = None,
) -> None:
    """Write a cohort table from what there is: folders, a MedMNIST file, another table.

    Takes a folder, an .npz file or a table; gives the table (CSV or Parquet), and prints its path. Of
    the tables of CLAM (case_id, slide_id, label) and STAMP (PATIENT and labels; PATIENT, FILENAME) none
    says the site: name its column, or the one site. With --decisions it has what people decided on
    doubtful labels as column 'decision'; no label is changed.

    Example: offsite cohort read dataset.csv --layout clam --site-column source -o labels.csv
    """
    from offsite.locks import writing
    from offsite.preprocessing.readers.building import write_cohort
    from offsite.written import check_own

    _check_options(layout, {"--site-column": site_column, "--label": label, "--slides": slides})
    with writing(output.parent, "cohort"):
        check_own(output)
        if layout in _LABEL_TABLES:
            cohort = _labelled(source, layout, classes, slides, label, site, site_column)
        else:
            cohort = _read(
                source, layout, output.parent, classes, held_out, lists, site, patient_pattern
            )
        if decisions is not None:
            cohort = _decided(cohort, decisions)
        typer.echo(write_cohort(cohort, output))


def _check_options(layout: Layout, given: dict[str, object]) -> None:
    """Refuse an option that says nothing of this layout, rather than pass it over."""
    for name, value in given.items():
        takes = (Layout.STAMP,) if name == "--slides" else _LABEL_TABLES
        if value is not None and layout not in takes:
            raise typer.BadParameter(f"{name} is of --layout {' and '.join(takes)}")


def _labelled(
    source: Path,
    layout: Layout,
    classes: str,
    slides: Path | None,
    label: str | None,
    site: str | None,
    site_column: str | None,
) -> "Cohort":
    from offsite.preprocessing.readers.label_tables import read_clam_table, read_stamp_tables
    from offsite.workflows.console.messages import say

    names = class_names(classes)
    if layout is Layout.CLAM:
        return read_clam_table(source, names, label=label, site=site, site_column=site_column)
    if slides is None or label is None:
        raise typer.BadParameter(
            "STAMP has two tables and many labels: give the clinical table, --slides TABLE and --label"
            " COLUMN"
        )
    cohort, without = read_stamp_tables(
        source, slides, names, label=label, site=site, site_column=site_column
    )
    if without:
        say(f"Left out: patients of {source.name} without a slide, {without}")
    return cohort


def _decided(cohort: "Cohort", decisions: Path) -> "Cohort":
    from offsite.workflows.console.messages import say
    from offsite.workflows.doubts.decisions import told, with_decisions

    decided = with_decisions(cohort, decisions)
    say(told(decided))
    return decided


def _read(
    source: Path,
    layout: Layout,
    folder: Path,
    classes: str,
    held_out: list[str] | None,
    lists: Path | None,
    site: str | None,
    patient_pattern: str | None,
) -> "Cohort":
    from offsite.preprocessing.cohort.table import load_cohort
    from offsite.preprocessing.readers.class_folders import left_out, read_class_folders
    from offsite.preprocessing.readers.gdrbench import read_gdrbench
    from offsite.preprocessing.readers.medmnist import read_medmnist
    from offsite.workflows.console.messages import say

    if layout is Layout.TABLE:
        return load_cohort(source, class_names(classes), images_named=None)
    if layout is Layout.GDRBENCH:
        return read_gdrbench(source, held_out=held_out or (), lists=lists)
    if layout is Layout.CLASS_FOLDERS:
        cohort = read_class_folders(
            source, class_names(classes), site=site, patient_pattern=patient_pattern
        )
        counts = sorted(left_out(source, site=site).items())
        if counts:
            say("Left out: " + ", ".join(f"{count} {what}" for what, count in counts))
        return cohort
    names = class_names(classes)
    if not names:
        raise typer.BadParameter("a MedMNIST file does not name its classes: give --classes")
    return read_medmnist(source, folder, names)


def class_names(classes: str) -> list[str] | None:
    """Return the names of an option ``--classes``, or None where it is not given."""
    return [name.strip() for name in classes.split(",") if name.strip()] or None
