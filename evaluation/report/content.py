"""What a page is made of: sections of sentences, tables and figures. No HTML here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from offsite.evaluation.figures.drawing import Figure


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    text : str
        The value.
    note : str
        What stands smaller under or behind it: an interval, a count, a reason.
    kind : str
        Empty, ``undefined`` (there is no value) or ``caution`` (marked, also in grey).
    about : str
        Metric whose making the text is linked to.
    anchor : str
        Its own address in the page.
    """

    text: str
    note: str = ""
    kind: str = ""
    about: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading, linked to how its metric is made; numbers stand right, words left."""

    heading: str
    note: str = ""
    numeric: bool = True
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows under one heading; the first cell of each row names it."""

    rows: tuple[tuple[Cell, ...], ...]
    heading: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption that says what is in it."""

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    folded: str = ""
    """Where not empty, the table stands behind a line with this text that opens it."""
    source: str = ""
    """Table of the folder that the numbers come from, by its schema's name."""


def listing(
    caption: str,
    words: Sequence[str],
    numbers: Sequence[str | Column],
    rows: Iterable[Sequence[str | Cell]] = (),
    *,
    groups: Sequence[Group] = (),
    folded: str = "",
    source: str = "",
) -> Table:
    """A table whose columns of words come before those of numbers.

    Parameters
    ----------
    caption, folded, source : str
        As in :class:`Table`.
    words : sequence of str
        Headings of the columns of words.
    numbers : sequence of str or Column
        Headings of the columns of numbers; a whole column where there is more to it.
    rows : iterable of sequence of str or Cell
        The rows, where there are no groups of them; text is a cell of nothing else.
    groups : sequence of Group
        Rows under headings.
    """
    columns = (
        *(Column(heading, numeric=False) for heading in words),
        *(Column(one) if isinstance(one, str) else one for one in numbers),
    )
    found = tuple(groups) or (group("", rows),)
    return Table(caption=caption, columns=columns, groups=found, folded=folded, source=source)


def group(heading: str, rows: Iterable[Sequence[str | Cell]]) -> Group:
    """Rows under a heading, of whose cells plain ones are given as text."""
    cells = (tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)
    return Group(heading=heading, rows=tuple(cells))


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    anchor, title : str
        Its address in the page, and its heading.
    lead : tuple of str
        Paragraphs before tables and figures.
    points : tuple of Point
        Findings as a list.
    figures, tables : tuple
        What it shows.
    notes : tuple of str
        How to read it, after the tables.
    """

    anchor: str
    title: str
    lead: tuple[str, ...] = ()
    points: tuple["Point", ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """A finding: a word or two that are set apart, and the sentence.

    ``about`` is the section of the page that has its numbers.
    """

    subject: str
    sentence: str
    caution: bool = False
    about: str = ""
