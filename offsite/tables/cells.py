"""Text in CSV that a spreadsheet would run: written harmless, and read back as it was."""

import re

# A spreadsheet takes a cell that begins so for a formula and runs it; one that is set to another
# separator begins a cell after that.
_BEFORE, _AFTER = r"(^|[;,|\t\r\n])(\s*)", r"(?=[=+\-@\t\r\n＝＋－＠])"
_FORMULA = re.compile(_BEFORE + r"('*)" + _AFTER)
_QUOTED = re.compile(_BEFORE + r"'('*)" + _AFTER)


def harmless(text: str) -> str:
    """The text with an apostrophe before whatever a spreadsheet would take for a formula.

    >>> harmless("=1+1"), harmless("St. Anne"), harmless("'=1")
    ("'=1+1", 'St. Anne', "''=1")
    """
    return _FORMULA.sub(r"\1\2'\3", text)


def as_it_was(text: str) -> str:
    """Back from :func:`harmless`.

    >>> as_it_was("'=1+1"), as_it_was("''=1"), as_it_was("O'Brien")
    ('=1+1', "'=1", "O'Brien")
    """
    return _QUOTED.sub(r"\1\2\3", text)
