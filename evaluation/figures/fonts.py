"""Fonts for names in any script: the usual one, then whichever installed ones have what it lacks."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SANS = ("Liberation Sans", "Arial", "Helvetica", "DejaVu Sans")


def with_fallbacks(figure: "Canvas") -> None:
    """Give each text of a drawing the fonts that its characters need.

    Figures hold text, not outlines, so the reader's browser chooses the font. The list of families
    tells it where to look, and lets the layout here know how wide a name is. A character that no
    installed font has is left to the browser as well.
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
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    usual = str(findfont(FontProperties(family=list(SANS))))
    missing = {ord(letter) for letter in words if not letter.isspace()} - _characters(usual)
    families = list(SANS)
    for font in sorted(fontManager.ttflist, key=lambda font: (_special(font.name), font.name)):
        if not missing:
            break
        if font.style != "normal" or "Last Resort" in font.name or font.name in families:
            continue
        if found := missing & _characters(font.fname):
            families.append(font.name)
            missing -= found
    return families


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
