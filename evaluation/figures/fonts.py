"""Fonts for names in any script: the usual one, then whichever installed ones have what it lacks."""

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SANS = ("Liberation Sans", "Arial", "Helvetica", "DejaVu Sans")


def with_fallbacks(figure: "Canvas") -> None:
    """Give each text of a drawing the fonts that its characters need.

    Figures hold text, not outlines, so the reader's browser chooses the font. The list of families
    tells it where to look, and lets the layout here know how wide a name is.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        words = text.get_text()
        if words.isascii():
            continue
        text.set_fontfamily(families_for(words))


def families_for(words: str) -> list[str]:
    """Families that together have every character of a text, as far as fonts are installed.

    >>> families_for("Söhne") == families_for("plain")
    True
    """
    return _searched(words)[0]


def legible(words: str) -> str:
    r"""The text with characters that no installed font has written by their Unicode numbers.

    >>> legible("Söhne"), legible("ward \U000f1234")
    ('Söhne', 'ward \\u{f1234}')
    """
    if words.isascii():
        return words
    missing = _searched(words)[1]
    return "".join(f"\\u{{{ord(x):x}}}" if ord(x) in missing else x for x in words)


def _searched(words: str) -> tuple[list[str], set[int]]:
    """The families that a text needs, and the characters that no installed font has."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    usual = str(findfont(FontProperties(family=list(SANS))))
    missing = {ord(letter) for letter in words if _seen(letter)} - _characters(usual)
    families = list(SANS)
    for font in sorted(fontManager.ttflist, key=lambda font: (_special(font.name), font.name)):
        if not missing:
            break
        if font.style != "normal" or "Last Resort" in font.name or font.name in families:
            continue
        if found := missing & _characters(font.fname):
            families.append(font.name)
            missing -= found
    return families, missing


def _seen(letter: str) -> bool:
    """Whether a character is drawn: spaces, and marks that only tell how to write, are not."""
    return unicodedata.category(letter) not in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _special(name: str) -> bool:
    """Whether a font is of symbols or of one width: taken only where no other has a character."""
    return any(word in name for word in ("Math", "Mono", "STIX", "cm", "Symbol", "Emoji"))


@cache
def _characters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font file that is damaged, or of a kind that is not read
        return frozenset()
