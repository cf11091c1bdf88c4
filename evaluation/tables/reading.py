"""The tables of an evaluation folder: how they are written, and how they are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.tables.columns import KIND_OF, TEXT
from offsite.files import changed_file, read_json, write_text
from offsite.tables.cells import as_it_was, harmless

RECORD = "evaluation.json"
Record = dict[str, Any]
"""A row of a table, by column."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation folder holds.

    Attributes
    ----------
    tables : dict of str to pandas.DataFrame
        By file name without suffix; an absent table is absent here too.
    facts : dict
        ``evaluation.json``: title, provenance, settings, primary metric.
    """

    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def table(self, name: str, column: str = "") -> pd.DataFrame | None:
        """A table with at least one row, and number in a column if one is named, or ``None``."""
        rows = self.tables.get(name)
        if rows is None or rows.empty or (column and rows[column].isna().all()):
            return None
        return rows

    @property
    def test_only(self) -> bool:
        """Whether there is no row of a training site to compare the others with."""
        cohort = self.table("cohort")
        return cohort is not None and not (cohort["site_role"] == "training").any()

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Settings of the per-site tables, as far as they were recorded."""
        found: Mapping[str, Any] = self.facts.get("settings", {}).get("metrics", {})
        return found

    @property
    def over_images(self) -> bool:
        """Whether single images were drawn for the intervals, not patients with all of theirs."""
        return bool(self.metrics.get("unit") == "image")

    @property
    def confidence(self) -> float:
        """Confidence (0..1) of the intervals of the per-site tables."""
        return float(self.metrics.get("confidence", 0.95))

    @property
    def per_site(self) -> pd.DataFrame:
        """The per-site table."""
        return self.tables["per_site"]


def read_evaluation(folder: str | Path, facts: Mapping[str, Any] | None = None) -> Evaluated:
    """Read every table of an evaluation folder, and its facts where none are given.

    Raises
    ------
    InputError
        There is no per-site table, or a table is damaged.
    """
    root = Path(folder)
    check_tables(root)
    if not (root / "per_site.csv").is_file():
        raise InputError(
            "not an evaluation folder: there is no per_site.csv",
            file=root,
            remedy="Give the folder that 'offsite evaluate' wrote",
        )
    record = root / RECORD
    if facts is None:
        facts = read_json(record) if record.is_file() else {}
    return Evaluated(
        tables={file.stem: read_table(file) for file in sorted(root.glob("*.csv"))},
        facts=facts,
    )


def check_tables(folder: Path) -> None:
    """Refuse an evaluation folder with a table that is not as evaluation wrote it.

    Raises
    ------
    InputError
        Code ``damaged_evaluation``.
    """
    if name := damaged_table(folder):
        raise InputError(
            "the table is not as evaluation wrote it",
            file=folder / name,
            remedy="Run `offsite evaluate` again: it writes the tables anew",
            code="damaged_evaluation",
        )


def damaged_table(folder: Path) -> str | None:
    """Name of a table that is not as the finished evaluation wrote it, or ``None``."""
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    return changed_file(folder, record.get("files", {}))


def table_text(table: pd.DataFrame) -> str:
    """A table as CSV: an undefined number is an empty cell, and no cell is a spreadsheet's formula."""
    safe = table.copy(deep=False)
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name].dtype):
            safe[name] = [harmless(cell) if isinstance(cell, str) else cell for cell in table[name]]
    return safe.rename(columns=lambda name: harmless(str(name))).to_csv(index=False)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; :func:`read_table` gives it back as it was."""
    write_text(path, table_text(table))


def read_table(file: str | Path) -> pd.DataFrame:
    """Read one table: text stays text (also a site called ``NA`` or ``007``), no number is NaN.

    What :func:`write_table` made harmless for spreadsheets is as it was before.
    """
    path = Path(file)
    header = pd.read_csv(path, nrows=0).columns
    text = {name: str for name in header if name in TEXT}
    numbers = {name: [""] for name in header if name not in text}
    table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=numbers)
    table = table.fillna(dict.fromkeys(text, ""))
    for name in text:
        table[name] = table[name].map(as_it_was)
    return table.rename(columns=lambda name: as_it_was(str(name)))


def records(table: pd.DataFrame) -> list[Record]:
    """The rows of a table as mappings by column name: an empty number is ``None``, a count whole."""
    cells = table.astype(object).where(table.notna(), None)
    rows = [{str(name): cell for name, cell in row.items()} for row in cells.to_dict("records")]
    for name in (str(name) for name in table if KIND_OF.get(str(name)) == "count"):
        for row in rows:
            row[name] = None if row[name] is None else int(row[name])
    return rows
