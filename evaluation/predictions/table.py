"""The predictions table: the only thing evaluation reads, whoever made it."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.tables.faults import no_names
from offsite.tables.reading import TextTable, read_table
from offsite.tables.words import ROLES, SPLITS, read_numbers, read_words, tidy

REQUIRED = ("image", "patient", "site", "split", "label")
ROLE, SLIDE_LABEL = "site_role", "slide_label"
PROBABILITY_PREFIX = "prob_"
PROBABILITIES = "Give probabilities from 0 to 1 (of logits, the softmax)"
_WORDS: tuple[tuple[str, Mapping[str, str]], ...] = (("split", SPLITS), (ROLE, ROLES))


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of one model on many images.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per image: ``image, patient, site, site_role, split, label`` (class name or blank).
    classes : tuple of str
        Class names in the model's order.
    probabilities : numpy.ndarray
        float64, rows x classes; each row sums to 1 within 1e-3 and is renormalised.
    labels : numpy.ndarray
        int64, rows; index into ``classes``, -1 where the image is unlabelled.
    embeddings, logits : numpy.ndarray or None
        float, rows x features and rows x classes, where the model gave them.
    trunk : numpy.ndarray or None
        float, rows x features: what the model's pretrained part saw, where that is not the embedding.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    probabilities: np.ndarray
    labels: np.ndarray
    embeddings: np.ndarray | None = None
    logits: np.ndarray | None = None
    trunk: np.ndarray | None = None

    def select(self, rows: np.ndarray) -> "Predictions":
        """The same predictions for a boolean mask or index array over rows."""
        table = self.table[rows] if rows.dtype == bool else self.table.iloc[rows]
        given = {name: getattr(self, name) for name in ("embeddings", "logits", "trunk")}
        return Predictions(
            table=table.reset_index(drop=True),
            classes=self.classes,
            probabilities=self.probabilities[rows],
            labels=self.labels[rows],
            **{name: None if array is None else array[rows] for name, array in given.items()},
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Rows of several tables of the same classes, one after the other.

        Embeddings and logits are left out: those of different models do not share a space.

        Raises
        ------
        InputError
            The parts have other classes, or classes in another order.
        """
        if len({part.classes for part in parts}) != 1:
            raise InputError(
                "the predictions have different classes",
                remedy="Join predictions of models with the same classes in the same order",
            )
        return cls(
            table=pd.concat([part.table for part in parts], ignore_index=True),
            classes=parts[0].classes,
            probabilities=np.concatenate([part.probabilities for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.table)


def load_predictions(path: str | Path) -> Predictions:
    """Read and check a predictions table and the arrays beside it.

    Parameters
    ----------
    path : path
        A table in any form that `offsite.tables.reading.read_table` takes, or a run folder that
        holds ``predictions.parquet``. docs/cohort.md lists the spellings that are read.

    Raises
    ------
    InputError
        The file is no table, a column is missing or its name unclear, a probability is not in
        [0, 1], a row does not sum to 1, a label is not one of the classes, a split or role is none
        that there is, a patient or site is a word for a missing value, or an array beside the table
        has another number of rows.
    """
    file = Path(path)
    with suppress(OSError, ValueError):  # a name that no system takes
        file = file / "predictions.parquet" if file.is_dir() else file
    source = read_table(file, (*REQUIRED, ROLE, SLIDE_LABEL))
    return predictions_of(
        _with_numbers(source, file),
        file,
        **{name: array_beside(file, f"{name}.npy") for name in ("embeddings", "logits", "trunk")},
    )


def predictions_of(
    table: pd.DataFrame,
    file: Path | None = None,
    *,
    embeddings: np.ndarray | None = None,
    logits: np.ndarray | None = None,
    trunk: np.ndarray | None = None,
) -> Predictions:
    """Check a table in memory that has the columns of a predictions table.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per image, with ``image, patient, site, split, label`` and ``prob_<class>``. An
        index that begins at 2 counts the rows of a file, as a spreadsheet does.
    file : path, optional
        Where it came from, for the errors.
    embeddings, logits, trunk : numpy.ndarray, optional
        Rows x features, rows x classes, and rows x features.

    Raises
    ------
    InputError
        As `load_predictions`.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"image": ["1", "2"], "patient": ["p", "q"], "site": "north", "split": "test",
    ...      "label": ["well", "ill"], "prob_well": [0.75, 0.5], "prob_ill": [0.25, 0.5]}
    ... )
    >>> predictions = predictions_of(table)
    >>> predictions.classes, predictions.labels.tolist()
    (('well', 'ill'), [0, 1])
    """
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        raise InputError(
            f"missing columns: {', '.join(missing)}",
            file=file,
            remedy=f"A predictions table has {', '.join(REQUIRED)} and prob_<class>",
        )
    classes = tuple(
        column.removeprefix(PROBABILITY_PREFIX)
        for column in table.columns
        if column.startswith(PROBABILITY_PREFIX)
    )
    if len(classes) < 2:
        raise InputError(
            "fewer than two prob_<class> columns",
            file=file,
            remedy="Give one probability column for each class, two for a binary task",
        )
    table = table.copy()
    if not (len(table) and table.index[0] == 2):
        table.index = pd.RangeIndex(2, len(table) + 2)
    for column in (*REQUIRED, *(name for name in (ROLE, SLIDE_LABEL) if name in table)):
        cells = table[column].astype("string").fillna("").astype(str).str.strip()
        table[column] = cells.map({cell: tidy(cell) for cell in cells.unique()})
    if ROLE not in table.columns:
        table[ROLE] = "unknown"
    for column, words in _WORDS:
        table[column], wrong = read_words(table[column], words)
        _refuse(wrong, table, file, column, words)
    table[ROLE] = table[ROLE].replace("", "unknown")
    if faults := no_names(table, file or Path("predictions"), ("patient", "site")):
        raise faults[0]
    return Predictions(
        table=table.reset_index(drop=True),
        classes=classes,
        probabilities=_probabilities(table, classes, file),
        labels=_labels(table, classes, file),
        **{
            name: _checked(array, f"{name}.npy", len(table), file)
            for name, array in (("embeddings", embeddings), ("logits", logits), ("trunk", trunk))
        },
    )


def _with_numbers(source: TextTable, file: Path) -> pd.DataFrame:
    """The rows with their probabilities as numbers; of CSV all cells are text."""
    table = source.rows
    for name in table.columns:
        before = re.fullmatch(rf"({PROBABILITY_PREFIX}.+)\.\d+", name)
        if before and before[1] in table.columns:
            raise InputError(
                f"column {before[1]} is there twice",
                file=file,
                row=1,
                code="column_twice",
                remedy="Keep the one that is right, and rename or remove the other",
            )
        if not name.startswith(PROBABILITY_PREFIX):
            continue
        values, wrong = read_numbers(table[name], decimal_comma=source.decimal_comma)
        if len(wrong):
            raise bad_cell(table[name], wrong[0], file, "a number", PROBABILITIES, "no_number")
        table[name] = values
    return table


def _refuse(
    wrong: np.ndarray, table: pd.DataFrame, file: Path | None, column: str, words: Mapping[str, str]
) -> None:
    if len(wrong):
        known = ", ".join(dict.fromkeys(words.values()))
        near = get_close_matches(str(table[column].iloc[wrong[0]]).lower(), words, n=1, cutoff=0.5)
        more = "; rows to be measured are 'test'" if column == "split" else ", or leave it blank"
        remedy = f"{f'Did you mean {words[near[0]]}? ' if near else ''}Use {known}{more}"
        what = f"a {column.removeprefix('site_')}"
        raise bad_cell(table[column], wrong[0], file, what, remedy, f"unknown_{column}")


def _probabilities(table: pd.DataFrame, classes: tuple[str, ...], file: Path | None) -> np.ndarray:
    values = table[[PROBABILITY_PREFIX + name for name in classes]].to_numpy(np.float64)
    bad = ~np.isfinite(values).all(axis=1) | (values < 0).any(axis=1) | (values > 1).any(axis=1)
    bad |= np.abs(values.sum(axis=1) - 1) > 1e-3
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"probabilities {values[row].tolist()} do not lie in [0, 1] and sum to 1",
            file=file,
            row=int(table.index[row]),
            remedy="Give softmax probabilities for every class",
            code="not_probabilities",
        )
    return values / values.sum(axis=1, keepdims=True)


def _labels(table: pd.DataFrame, classes: tuple[str, ...], file: Path | None) -> np.ndarray:
    index = {name: number for number, name in enumerate(classes)} | {"": -1}
    unknown = np.flatnonzero(~table["label"].isin(list(index)))
    if len(unknown):
        remedy = f"The classes are {', '.join(classes)}, or blank"
        raise bad_cell(table["label"], unknown[0], file, "a class", remedy, "unknown_label")
    return table["label"].map(index).to_numpy(np.int64)


def bad_cell(
    cells: pd.Series, place: int, file: Path | None, what: str, remedy: str, code: str
) -> InputError:
    """The error for a cell of a column that is not what it should be; the index counts rows."""
    return InputError(
        f"'{cells.iloc[place]}' is not {what}",
        file=file,
        row=int(cells.index[place]),
        column=str(cells.name),
        remedy=remedy,
        code=code,
    )


def array_beside(file: Path, name: str) -> np.ndarray | None:
    """Return the array ``name`` that lies beside a predictions table, or None."""
    path = file.with_name(name)
    return np.load(path, allow_pickle=False) if path.exists() else None


def _checked(
    array: np.ndarray | None, name: str, rows: int, file: Path | None
) -> np.ndarray | None:
    if array is None:
        return None
    if len(array) != rows:
        raise InputError(
            f"{len(array)} rows, but {'the table' if file is None else file.name} has {rows}",
            file=file.with_name(name) if file else None,
            remedy="Write both from the same run, in the same order",
        )
    return np.asarray(array, dtype=np.float64)
