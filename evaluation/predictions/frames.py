"""A table of others as predictions: its own column names, one probability of two; unclear is refused."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.roles import SLIDE_LABEL
from offsite.evaluation.predictions.table import (
    PROBABILITIES,
    PROBABILITY_PREFIX,
    Predictions,
    array_beside,
    bad_cell,
    predictions_of,
)
from offsite.tables.reading import read_table
from offsite.tables.words import plain, read_numbers

SCORE = "score"
_OPTIONAL = ("image", "split", "site_role", SLIDE_LABEL)
_NEEDED = {
    "site": "where each row's image was made: columns={'site': '...'}",
    "label": "each row's true class (blank where unknown): columns={'label': '...'}",
    "patient": "each row's patient: columns={'patient': '...'}; columns={'patient': None} says"
    " that every row is of another patient",
}


def read_predictions(
    path: str | Path,
    classes: Sequence[str] | None = None,
    columns: Mapping[str, str | None] | None = None,
    kept: Sequence[str] = (),
) -> tuple[Predictions, tuple[str, ...]]:
    """Read a table of another's, or that of a run folder, by the names that it has.

    Parameters
    ----------
    path : path
        A table in any form that `offsite.tables.reading.read_table` takes.
    classes, columns, kept
        As in `predictions_of_frame`.

    Raises
    ------
    InputError
        As `offsite.tables.reading.read_table` and `predictions_of_frame`.
    """
    file = Path(path)
    with suppress(OSError, ValueError):  # a name that no system takes
        file = file / "predictions.parquet" if file.is_dir() else file
    named = dict(columns or {})
    # A column that is named otherwise may have a header that would be unclear by itself.
    known = [name for name in (*_NEEDED, *_OPTIONAL, SCORE) if name not in named]
    source = read_table(file, known)
    frame = source.rows
    headers = {plain(str(header)): str(header) for header in frame.columns}
    for name, column in named.items():
        if column is not None and column not in frame.columns:
            named[name] = headers.get(plain(column), column)
    comma = source.decimal_comma
    return predictions_of_frame(frame, classes, named, file, decimal_comma=comma, kept=kept)


def predictions_of_frame(
    frame: pd.DataFrame,
    classes: Sequence[str] | None = None,
    columns: Mapping[str, str | None] | None = None,
    file: Path | None = None,
    *,
    decimal_comma: bool = False,
    kept: Sequence[str] = (),
) -> tuple[Predictions, tuple[str, ...]]:
    """Return a table's predictions, and what was taken for granted, a sentence each.

    Parameters
    ----------
    frame : pandas.DataFrame
        A row per image.
    classes : sequence of str, optional
        Class names in order, the negative or mildest first; unset: those of ``prob_<class>``.
    columns : mapping, optional
        The table's name of a column by offsite's, as in `offsite.evaluate`.
    file : path, optional
        Where it came from: for the errors, and for arrays beside it.
    decimal_comma : bool
        Whether ``0,25`` can only be 0.25.
    kept : sequence of str
        Further columns that stay, where the table has them.

    Raises
    ------
    InputError
        Code ``unclear_columns``, ``unclear_classes`` or ``not_probabilities``, or one of
        `offsite.evaluation.predictions.table.predictions_of`.
    """
    named = dict(columns or {})
    _check_named(frame, named, file)
    table, notes = _described(frame, named, file)
    for name in kept:
        if name in frame.columns and name not in table:
            table[name] = frame[name].to_numpy()
    order, sources = _probability_columns(frame, named, classes, file)
    table["label"], numbered = _class_names(table["label"], order)
    values = {
        name: _numbers(frame[source], file, decimal_comma) for name, source in sources.items()
    }
    rest = 1 - next(iter(values.values()))  # of two classes one may be given
    for name in order:
        table[PROBABILITY_PREFIX + name] = values.get(name, rest)
    beside = ("embeddings", "logits") if file else ()
    arrays = {name: array_beside(file, f"{name}.npy") for name in beside if file}
    return predictions_of(table, file, **arrays), (*notes, *numbered)


def _check_named(frame: pd.DataFrame, named: Mapping[str, str | None], file: Path | None) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise _unclear(f"two columns are named '{twice[0]}'", "Rename one of them", file)
    known = (*_NEEDED, *_OPTIONAL, SCORE)
    for name, column in named.items():
        if name not in known and not name.startswith(PROBABILITY_PREFIX):
            near = get_close_matches(name, known, n=1)
            asked = f"{f'Did you mean {near[0]}? ' if near else ''}Use {', '.join(known)}"
            raise _unclear(
                f"columns names '{name}', which offsite does not ask for",
                f"{asked} or {PROBABILITY_PREFIX}<class>",
                file,
            )
        if column is None and name != "patient":
            raise _unclear(f"columns gives no column for '{name}'", "Leave it out", file)
        if column is not None and column not in frame.columns:
            raise _unclear(f"the table has no column '{column}'", _offer(frame, column), file)


def _described(
    frame: pd.DataFrame, named: Mapping[str, str | None], file: Path | None
) -> tuple[pd.DataFrame, list[str]]:
    """Whose images they are, where from and what they show, by offsite's names."""
    table, notes = pd.DataFrame(index=frame.index if file else range(len(frame))), []
    for name in (*_NEEDED, *_OPTIONAL):
        column = named.get(name, name)
        if column in frame.columns:
            table[name] = frame[column].to_numpy()
    for name, meaning in _NEEDED.items():
        if name not in table and not (name == "patient" and name in named):
            raise _unclear(
                f"the table has no column '{name}'",
                f"Say which column holds {meaning}. {_offer(frame, name)}",
                file,
            )
    if "image" not in table:
        table["image"] = [f"row {number}" for number in range(1, len(frame) + 1)]
    if "patient" not in table:
        table["patient"] = ""  # blank: each image is its own
        notes.append("Every row is taken for another patient.")
    if "split" not in table:
        table["split"] = "test"
        notes.append("No split was given: every row is measured, and none was fitted on.")
    return table, notes


def _probability_columns(
    frame: pd.DataFrame,
    named: Mapping[str, str | None],
    classes: Sequence[str] | None,
    file: Path | None,
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The classes in order, and the column of each; of two classes one column will do."""
    start = len(PROBABILITY_PREFIX)
    given = {
        name[start:]: str(column)
        for name, column in named.items()
        if name.startswith(PROBABILITY_PREFIX)
    }
    present = {
        str(name)[start:]: name
        for name in frame.columns
        if str(name).startswith(PROBABILITY_PREFIX)
    }
    score = named.get(SCORE) or (SCORE if SCORE in frame.columns and not present else None)
    order = tuple(map(str, classes)) if classes is not None else tuple(given or present)
    if len(set(order)) < max(len(order), 2):
        raise InputError(
            "the classes are unclear" if len(order) < 2 else "a class is named twice",
            file=file,
            remedy="Name them in order, the negative or mildest first: classes=['benign',"
            f" 'malignant'], with a column {PROBABILITY_PREFIX}<class> for each, or for two"
            " classes the probability of the second: columns={'score': '...'}",
            code="unclear_classes",
        )
    if score and len(order) == 2 and not given:
        return order, {order[1]: score}
    described = {named.get(name, name) for name in (*_NEEDED, *_OPTIONAL)}
    plain = {name: name for name in frame.columns if name not in described}
    sources = {**plain, **present, **given}
    missing = [name for name in order if name not in sources]
    if len(missing) > (len(order) == 2):
        raise _unclear(
            f"there is no probability of class '{missing[0]}'",
            f"Say which column holds it: columns={{'{PROBABILITY_PREFIX}{missing[0]}': '...'}}."
            f" {_offer(frame, PROBABILITY_PREFIX + missing[0])}",
            file,
        )
    return order, {name: sources[name] for name in order if name in sources}


def _class_names(labels: pd.Series, order: Sequence[str]) -> tuple[pd.Series, list[str]]:
    """Labels as names of classes; numbers of classes (from 0) are taken for them, and said so."""
    text = labels.astype("string").fillna("").str.strip()
    text = text.str.replace(r"^(\d+)\.0+$", r"\1", regex=True)
    lower = text.str.lower()
    if lower.isin(["true", "false", ""]).all() and not text.isin([*order, ""]).all():
        text = lower.map({"false": "0", "true": "1", "": ""}).astype("string")
    numbers = {str(number): name for number, name in enumerate(order)} | {"": ""}
    if text.isin([*order, ""]).all() or not text.isin(list(numbers)).all():
        return text.astype(str), []
    meaning = ", ".join(f"{number} is {name}" for number, name in enumerate(order))
    return text.map(numbers).astype(str), [f"The labels are numbers of classes: {meaning}."]


def _numbers(values: pd.Series, file: Path | None, decimal_comma: bool) -> np.ndarray:
    numbers, _ = read_numbers(values, decimal_comma=decimal_comma)
    bad = np.flatnonzero(~((numbers >= 0) & (numbers <= 1)))
    if len(bad):
        cells = values if file else values.set_axis(pd.RangeIndex(2, len(values) + 2))
        raise bad_cell(cells, bad[0], file, "a probability", PROBABILITIES, "not_probabilities")
    return numbers


def _offer(frame: pd.DataFrame, wanted: str) -> str:
    names = [str(name) for name in frame.columns]
    near = get_close_matches(wanted, names, n=1)
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{f'Did you mean {near[0]}? ' if near else ''}The table's columns: {listed}"


def _unclear(problem: str, remedy: str, file: Path | None) -> InputError:
    return InputError(problem, file=file, remedy=remedy, code="unclear_columns")
