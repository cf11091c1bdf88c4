"""The label tables of CLAM and of STAMP, read as the cohort of a folder of features.

| tool | table | columns |
|---|---|---|
| CLAM | one | ``case_id, slide_id, label`` |
| STAMP | clinical | ``PATIENT``, and a column for each label |
| STAMP | slides | ``PATIENT, FILENAME`` |

None of them says a slide's site, and nothing is guessed: its column is named, or the one site of all.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.table import Cohort, checked_cohort
from offsite.tables.faults import faults_at, no_names
from offsite.tables.reading import TextTable, read_table
from offsite.tables.words import plain, tidy

_SUFFIX = re.compile(r"\.(h5|hdf5|pt)$", re.IGNORECASE)


def read_clam_table(
    file: str | Path,
    classes: Sequence[str] | None = None,
    *,
    label: str | None = None,
    site: str | None = None,
    site_column: str | None = None,
) -> Cohort:
    """Read a table of CLAM: ``slide_id`` is the slide, ``case_id`` the patient.

    Parameters
    ----------
    classes : sequence of str, optional
        Class names in order; by default the labels that there are, sorted.
    label : str, optional
        Column of the label, where it is not ``label``.
    site, site_column : str
        The one site of all slides, or the column that says it: one of the two.

    Raises
    ------
    InputError
        Code ``missing_column``, or ``no_site`` (neither of the two is named, or both).
    InputErrors
        Every fault of the rows, as of a cohort table, under the names of this one's columns.
    """
    path = Path(file)
    rows = read_table(path, ("case_id", "slide_id")).rows
    names = {
        "slide": _column(rows, "slide_id", path),
        "patient": _column(rows, "case_id", path),
        "label": _column(rows, label or "label", path),
        "site": _site_column(rows, site, site_column, path),
    }
    cohort, faults = checked_cohort(
        TextTable(_taken(rows, names, site), decimal_comma=False), path, classes, images_named=False
    )
    if faults:
        own = {**names, "image": names["slide"]}
        raise InputErrors([_at(fault, column=own.get(fault.column or "")) for fault in faults])
    return cohort.with_table(cohort.table)


def read_stamp_tables(
    clinical: str | Path,
    slides: str | Path,
    classes: Sequence[str] | None = None,
    *,
    label: str,
    site: str | None = None,
    site_column: str | None = None,
) -> tuple[Cohort, int]:
    """Read the two tables of STAMP: a slide has the label and the site of its patient.

    Parameters
    ----------
    clinical, slides : path
        ``PATIENT`` and the labels; ``PATIENT, FILENAME``.
    classes, site, site_column
        As of `read_clam_table`; the column is one of the clinical table.
    label : str
        Column of the clinical table.

    Returns
    -------
    Cohort
        Its ``path`` is the table of slides.
    int
        Patients of the clinical table without a slide, who are left out.

    Raises
    ------
    InputError
        As `read_clam_table`.
    InputErrors
        As there, each under the table and row that it is in; ``patient_twice`` in the clinical table,
        ``unknown_patient`` in that of slides.
    """
    of_patients, of_slides = Path(clinical), Path(slides)
    known = read_table(of_patients, ("patient",)).rows
    rows = read_table(of_slides, ("patient", "filename")).rows
    for table, names, file in (
        (known, ("patient",), of_patients),
        (rows, ("patient", "filename"), of_slides),
    ):
        missing = [name.upper() for name in names if name not in table.columns]
        if missing:
            raise _missing(missing, table, file)
    named = {
        "label": _column(known, label, of_patients),
        "site": _site_column(known, site, site_column, of_patients),
    }
    first, faults = _patients(known, of_patients)
    theirs = _text(rows["patient"]).map(tidy)
    strange = [at for at, name in enumerate(theirs) if name and name not in first]
    faults += faults_at(
        strange, of_slides, "PATIENT", f"{of_patients.name} has no row for the patient of this slide",
        "Add it there, or remove the slide's row here", rows.rename(columns=str.upper), "unknown_patient",
    )  # fmt: skip
    cells = _taken(known, named, site)
    joined = pd.DataFrame(
        {
            "slide": _text(rows["filename"]).map(_slide_of),
            "patient": theirs,
            **{name: [cells[name].get(first.get(one, -1), "") for one in theirs] for name in named},
        },
        index=rows.index,
    ).drop(index=rows.index[strange])
    if len(joined):
        cohort, further = checked_cohort(
            TextTable(joined, decimal_comma=False), of_slides, classes, images_named=False
        )
        of_slide = joined["patient"].map(first)
        faults += [_where_it_is(fault, named, of_slide, of_patients) for fault in further]
    if faults:
        raise InputErrors(list({str(fault): fault for fault in faults}.values()))
    return cohort.with_table(cohort.table), len(first.keys() - set(theirs))


def _patients(known: pd.DataFrame, file: Path) -> tuple[dict[str, int], list[InputError]]:
    """The row of each patient of a clinical table, and what is wrong with the names there."""
    patients = _text(known["patient"]).map(tidy)
    first = {name: int(row) for row, name in reversed(list(patients.items())) if name}
    twice = [at for at, again in enumerate(patients.duplicated() & (patients != "")) if again]
    faults = faults_at(
        twice, file, "PATIENT", "the patient of this row has another row above",
        "Keep one row for each patient", known.rename(columns=str.upper), "patient_twice",
    )  # fmt: skip
    return first, [*faults, *no_names(pd.DataFrame({"PATIENT": patients}), file, ["PATIENT"])]


def _where_it_is(
    fault: InputError, named: dict[str, str], of_slide: pd.Series, clinical: Path
) -> InputError:
    """A fault of a slide's row; one of its label or site at its patient's row (``of_slide``)."""
    told = {**named, "patient": "PATIENT", "slide": "FILENAME", "image": "FILENAME"}
    column = told.get(fault.column or "")
    if fault.column not in named or fault.row is None:
        return _at(fault, column=column)
    row = of_slide.get(fault.row, fault.row)
    return _at(fault, column=column, file=clinical, row=fault.row if pd.isna(row) else int(row))


def _taken(rows: pd.DataFrame, names: dict[str, str], site: str | None) -> pd.DataFrame:
    """The columns that a cohort needs, under its names."""
    taken = {name: _text(rows[column]) for name, column in names.items() if column}
    return pd.DataFrame({**taken, **({} if site is None else {"site": site})}, index=rows.index)


def _text(cells: pd.Series) -> pd.Series:
    return cells.astype("string").fillna("").astype(str).str.strip()


def _slide_of(filename: str) -> str:
    """The slide of a feature file, which may lie in a folder."""
    return _SUFFIX.sub("", re.split(r"[/\\]", filename)[-1])


def _site_column(rows: pd.DataFrame, site: str | None, site_column: str | None, file: Path) -> str:
    """The column of the site, "" where all slides are of one."""
    if (site is None) == (site_column is None):
        raise InputError(
            "the table does not say which hospital each slide is from"
            if site is None
            else "one site is named for all slides, and a column that says the site of each",
            file=file,
            remedy="Give --site-column COLUMN, or --site NAME if all slides are of one hospital"
            f" (columns: {_listed(rows)})",
            code="no_site",
        )
    return "" if site_column is None else _column(rows, site_column, file)


def _column(rows: pd.DataFrame, name: str, file: Path) -> str:
    """The column of that name in whatever case."""
    found = [str(column) for column in rows.columns if plain(str(column)) == plain(name)]
    exact = [column for column in found if column == name]
    if len(exact or found) != 1:
        raise _missing([name], rows, file)
    return (exact or found)[0]


def _missing(names: list[str], rows: pd.DataFrame, file: Path) -> InputError:
    return InputError(
        f"missing column{'s' * (len(names) > 1)} {', '.join(names)} (found: {_listed(rows)})",
        file=file,
        remedy="Name the table of --layout, and its columns with --label and --site-column",
        code="missing_column",
    )


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(map(str, rows.columns[:12]))


def _at(
    fault: InputError, *, column: str | None, file: Path | None = None, row: int | None = None
) -> InputError:
    """The same fault under the name that its column has in another table."""
    return InputError(
        fault.problem,
        file=file or fault.file,
        row=fault.row if row is None else row,
        column=column or fault.column,
        remedy=fault.remedy,
        code=fault.code,
    )
