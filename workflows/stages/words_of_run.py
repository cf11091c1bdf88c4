"""The tissue words that were found of a run: as its package takes them, and what people call them."""

from pathlib import Path
from typing import Any

import numpy as np

from offsite.errors import InputError, InputErrors
from offsite.files import read_json
from offsite.tables.reading import read_table
from offsite.tables.words import tidy
from offsite.training.encoders import LEAST_KEPT, VOCABULARY
from offsite.training.run_folder import RunFolder
from offsite.workflows.package.making import RunWords
from offsite.workflows.package.schema import WordsOfModel
from offsite.workflows.stages.evaluation import job_of_run
from offsite.workflows.stages.training import CELL
from offsite.written import is_own

FACTS, ARRAYS = "vocabulary.json", "words.safetensors"
LONGEST_NAME = 60
_COLUMNS = ("word", "name")


def folder_of_words(run: Path) -> Path:
    """Where the words of a run are written, in its job's output."""
    return job_of_run(run).output / VOCABULARY / str(read_json(run / CELL)["name"])


def facts_of_words(run: Path) -> dict[str, Any] | None:
    """Return ``vocabulary.json`` of a run as it stands; None where its words are to be found yet."""
    file = folder_of_words(run) / FACTS
    if not (file.is_file() and is_own(file) and is_own(file.with_name(ARRAYS))):
        return None
    facts = read_json(file)
    key = (RunFolder(run).record() or {}).get("key")
    return dict(facts) if facts.get("run") == key else None


def words_of_run(run: Path) -> RunWords:
    """Return the words that go with the package of a run: what tells them, and no picture of a tile.

    The mean features of a word's tiles stay here too, which nobody needs to tell a word.
    """
    folder = folder_of_words(run)
    if not (folder / FACTS).is_file():
        return RunWords()
    facts = facts_of_words(run)
    if facts is None:
        return RunWords(
            missing="The tissue words that were found are of another training of the run, or were"
            " changed since: answers are not told in them."
        )
    if facts["kept"] < LEAST_KEPT:
        return RunWords(
            missing=f"The tissue words that were found keep {max(facts['kept'], 0):.0%} of the answers'"
            " log-odds: answers are not told in them."
        )
    from safetensors.numpy import load

    arrays = load((folder / ARRAYS).read_bytes())
    told = WordsOfModel(
        names=tuple(facts.get("names") or [""] * len(arrays["places"])),
        kept=facts["kept"],
        judged=facts["judged"],
    )
    return RunWords(told=told, arrays={k: np.asarray(v) for k, v in arrays.items() if k != "means"})


def read_names(file: Path, words: int) -> list[str]:
    """Read what people call the words, from a table with the columns ``word`` and ``name``.

    Parameters
    ----------
    words : int
        How many there are: 1 is the first.

    Returns
    -------
    list of str
        A name for each word, "" where the table has none.

    Raises
    ------
    InputErrors
        Naming each row: no such word, a word or a name that stands twice, a name too long.
    InputError
        The table cannot be read, or lacks a column.
    """
    rows = read_table(file, _COLUMNS).rows
    if missing := [name for name in _COLUMNS if name not in rows]:
        raise InputError(
            f"missing column{'s' * (len(missing) > 1)} {', '.join(missing)}", file=file,
            remedy="Give a table with the columns word (its number in words.png) and name",
            code="missing_column",
        )  # fmt: skip
    names, faults = [""] * words, []
    cells = rows[list(_COLUMNS)].astype("string").fillna("")
    for number, row in zip(cells.index, cells.to_dict("records"), strict=True):
        word, name = str(row["word"]).strip(), tidy(str(row["name"]))
        problem = _problem(word, name, names)
        if problem:
            column, text, remedy = problem
            faults.append(
                InputError(
                    text, file=file, row=int(number), column=column, remedy=remedy,
                    code="unusable_name",
                )
            )  # fmt: skip
        elif name:
            names[int(word) - 1] = name
    if faults:
        raise InputErrors(faults)
    return names


def _problem(word: str, name: str, names: list[str]) -> tuple[str, str, str] | None:
    """The column, the fault and the remedy of a row that cannot be used."""
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= len(names)):
        return "word", f"'{word[:20]}' is no word of this run", f"Number them 1 to {len(names)}"
    if len(name) > LONGEST_NAME or not name.isprintable():
        return (
            "name",
            "the name is too long or cannot be printed",
            f"Use at most {LONGEST_NAME} letters",
        )
    if name and names[int(word) - 1]:
        return "word", f"word {int(word)} is named twice", "Keep one of the rows"
    if name and name in names:
        return "name", "another word has this name already", "Name each word otherwise"
    return None
