"""Names that are one name to a person and two to a program."""

import re
import unicodedata

import pandas as pd


def name_key(text: str) -> str:
    """Return what names have in common that differ in case, separators or invisible characters.

    Examples
    --------
    >>> name_key('St. Mary') == name_key('st mary')
    True
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    seen = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")
    return re.sub(r"[\s_./-]+", "_", seen)


def patient_key(text: str) -> str:
    """Return `name_key` also without what spreadsheets add or take: zeros before, ``.0`` behind.

    Examples
    --------
    >>> patient_key('P-007') == patient_key('p 007')
    True
    """
    return re.sub(r"(?<!\d)0+(?=\d)", "", name_key(re.sub(r"(?<=\d)\.0$", "", text.strip())))


def alike_sites(table: pd.DataFrame) -> list[tuple[int, str]]:
    """Return the first row of each spelling of a site but the most frequent, which is named."""
    return _other_spellings(table["site"])


def alike_labels(table: pd.DataFrame) -> list[tuple[int, str]]:
    """Return the first row of each spelling of a label but the most frequent, which is named."""
    return _other_spellings(table["label"])


def _other_spellings(cells: pd.Series) -> list[tuple[int, str]]:
    counts = cells.value_counts()
    spellings: dict[str, list[str]] = {}
    for name in counts.index:  # the most frequent first
        if name:
            spellings.setdefault(name_key(name), []).append(name)
    rows = [
        (int((cells == other).to_numpy().argmax()), most)
        for most, *others in spellings.values()
        for other in others
    ]
    return sorted(rows)


def alike_patients(table: pd.DataFrame) -> list[list[int]]:
    """Return the rows of each group of patients of one site whose names have one `patient_key`."""
    keys = table["patient"].map({name: patient_key(name) for name in table["patient"].unique()})
    grouping = [table["site"], keys]
    several = table["patient"].groupby(grouping).transform("nunique") > 1
    alike = table[several].groupby([group[several] for group in grouping])
    places = several.to_numpy().nonzero()[0]
    return [places[rows].tolist() for rows in alike.indices.values()]
