"""What the words of a table mean: a known spelling is read, an unclear one is refused."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
SPLITS = {"train": "train", "val": "val", "test": "test"}
_SPLIT_WORDS = {
    "train", "training", "val", "valid", "validation", "dev", "tune", "tuning", "test", "testing",
    "held_out", "held-out", "holdout",
}  # fmt: skip
ROLES = {
    "training": "training",
    "held_out": "held_out",
    "held-out": "held_out",
    "held out": "held_out",
    "heldout": "held_out",
    "unknown": "unknown",
}
"""Of a site in a table of predictions; ``unknown`` is told by the splits of its rows."""

# Words that stand for a missing value; as a patient they would make one person of many.
_MISSING = """
unbekannt keine inconnu desconocido sconosciuto onbekend nieznany neznámý okänd ukjent tuntematon
неизвестно 不明 未知
na n/a n.a. n.a #n/a #na nan nat null <null> (null) none <none> nil <na> blank (blank)
unknown unk n/k missing undefined unspecified unnamed tbd xxx ? ?? ??? - -- --- – — . .. ...
anonymous anonymized anonymised anon deidentified de-identified
#value! #ref! #name? #div/0! #num! #null! #error!
"""
MISSING = frozenset(_MISSING.split()) | {
    "not available",
    "not applicable",
    "not known",
    "no name",
    "no id",
}
_SHORTENED = re.compile(r"[+-]?(?:\d+e[+-]\d+|\d+[.,]\d+\s*e\s*[+-]?\d+)", re.IGNORECASE)
# Letters of other scripts that look like those of known columns.
_LOOKALIKES = str.maketrans("іıаеоресѕухԁмкαεοιτρν", "iiaeopecsyxdmkaeoitpv")

# Other names of columns that would be passed over in silence; they are asked about instead.
_OTHER_NAMES = {
    "eye": ("eyes", "laterality", "eyeside", "sideofeye"),
    "split": (
        "splits",
        "partition",
        "splitname",
        "set",
        "subset",
        "datasetsplit",
        "datasplit",
        "istest",
        "istrain",
        "isval",
        "traintest",
        "trainvaltest",
    ),
    "site_role": ("role", "siteroles", "siterole", "sitetype"),
    "mpp": ("mpps", "mppum", "umperpx", "umperpixel", "micronsperpixel", "mppx", "mppy"),
    "slide": ("slides",),
    "scanner": ("scanners",),
    "label": ("labels",),
    "patient": ("patients",),
    "site": ("sites",),
    "image": ("images",),
}


def plain(text: str) -> str:
    r"""Return a word without what the eye does not see: case, width of letters, spaces around.

    >>> plain(" \ufeffSplit\u00a0")
    'split'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    seen = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")
    return " ".join(seen.split())


def tidy(text: str) -> str:
    """Return a name with composed letters and single spaces: what is typed on any machine alike.

    Examples
    --------
    >>> tidy(' P-007  a ')
    'P-007 a'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def column_names(names: Iterable[str], known: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Read the header of a table.

    Parameters
    ----------
    names : iterable of str
        The header as it is written.
    known : sequence of str
        Columns that mean something; their names are lower-case.

    Returns
    -------
    list of str
        The columns: known names as in ``known``, others without spaces around them.
    dict
        Unclear columns and the known column that each may be meant to be: a name that differs from
        it by punctuation (``split:``) or is another word for it, where that column is missing.

    >>> column_names(["Image", " SPLIT ", "Laterality", "ward"], ["image", "split", "eye"])
    (['image', 'split', 'Laterality', 'ward'], {'Laterality': 'eye'})
    """
    read = [plain(name) if plain(name) in known else " ".join(name.split()) for name in names]
    meant = {other: name for name in known for other in (name, *_OTHER_NAMES.get(name, ()))}
    unclear = {}
    for name in read:
        seen = plain(name).translate(_LOOKALIKES)
        near = meant.get(re.sub(r"[\W_]+", "", seen))
        if near and name not in known and near not in read:
            unclear[name] = near
    return read, unclear


def columns_of_splits(rows: pd.DataFrame) -> list[str]:
    """Return the columns of text of which every cell is a word for a split, by whatever name.

    >>> columns_of_splits(pd.DataFrame({"usage": ["Training", "test", ""], "ward": ["a", "b", "c"]}))
    ['usage']
    """
    found = []
    for name in rows.columns:
        words = {plain(cell) if isinstance(cell, str) else "?" for cell in rows[name].unique()}
        if len(words - {""}) > 1 and words <= _SPLIT_WORDS | {""}:
            found.append(str(name))
    return found


def read_words(cells: pd.Series, words: Mapping[str, str]) -> tuple[pd.Series, np.ndarray]:
    """Read a column with a closed vocabulary; blank cells stay blank.

    Returns
    -------
    pandas.Series
        What each cell means; as written where it means nothing.
    numpy.ndarray
        Positions of the cells that mean nothing.

    >>> values, wrong = read_words(pd.Series(["OD", "left", "", "both"]), EYES)
    >>> values.tolist(), wrong.tolist()
    (['right', 'left', '', 'both'], [3])
    """
    known = {cell: words.get(plain(cell)) for cell in cells.unique()}
    values = cells.map(lambda cell: known[cell] or cell)
    wrong = cells.map(lambda cell: known[cell] is None and cell != "").to_numpy(bool)
    return values, np.flatnonzero(wrong)


def is_missing(text: str) -> bool:
    """Whether a cell says that its value is missing, as ``NaN``, ``#N/A`` or ``unknown`` do."""
    return plain(text) in MISSING


def is_shortened(text: str) -> bool:
    """Whether a spreadsheet has shortened a long number: its last digits are lost.

    >>> is_shortened("4.5E+11"), is_shortened("12E5")
    (True, False)
    """
    return _SHORTENED.fullmatch(text.strip()) is not None


def read_numbers(cells: pd.Series, *, decimal_comma: bool) -> tuple[np.ndarray, np.ndarray]:
    """Read a column of numbers; blank cells are NaN.

    Parameters
    ----------
    decimal_comma : bool
        Read ``0,25`` as 0.25: only where commas do not separate cells.

    Returns
    -------
    numpy.ndarray
        float64, one a cell.
    numpy.ndarray
        Positions of the cells that hold no number.

    >>> values, wrong = read_numbers(pd.Series(["0,25", "", "fine"]), decimal_comma=True)
    >>> values[0].item(), wrong.tolist()
    (0.25, [2])
    """
    text = cells.astype("string").fillna("").str.strip()
    if decimal_comma:
        text = text.str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
    values = pd.to_numeric(text.where(text != ""), errors="coerce").astype("Float64")
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    finite = np.isfinite(numbers)
    wrong = np.flatnonzero((text != "").to_numpy(bool) & ~finite)
    return np.where(finite, numbers, np.nan), wrong
