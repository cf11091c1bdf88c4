"""What every figure shares: a restrained style, fonts for any script, SVG that can stand in a page."""

import io
import logging
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SANS = ("Liberation Sans", "Arial", "Helvetica", "DejaVu Sans")
INK = "#1b2a33"
QUIET = "#66757f"
RULE = "#c9d1d6"
ACCENT = "#0b5c73"
# Dark to light, so that the order survives a grey printer; lines differ in dashes as well.
SERIES = ("#0b5c73", "#b3541e", "#5b6770", "#7a9a2b", "#8a5a9e", "#2f8fb0", "#c08a1e", "#333333")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (3, 3)), (0, (8, 2)), (0, (1, 2)))
WIDTH_IN = 7.6
_LEAST = 0.15
_ILLEGIBLE = (
    "Letters that no font of the machine that drew this has stand as their Unicode numbers; the table "
    "has the names. With a font for them (such as Noto Sans) the page can be made anew."
)

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": list(SANS),
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a site may be called "$x$"
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure.

    Attributes
    ----------
    name : str
        File name without suffix, also the prefix of the ids inside.
    svg : str
        An ``<svg>`` element, without XML prolog, of relative width.
    title : str
        What it shows, in a few words: its accessible name.
    description : str
        What can be read from it, in words, for those who do not see it.
    caption : str
        How to read it: what the marks stand for.
    """

    name: str
    svg: str
    title: str
    description: str
    caption: str = ""


@contextmanager
def canvas(width: float, height: float, **layout: object) -> Iterator["Canvas"]:
    """A matplotlib figure (inches) in the report's style; nothing global is changed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with mpl.rc_context(_STYLE):
        yield Canvas(figsize=(width, height), layout="constrained", **layout)  # type: ignore[arg-type]


def finished(
    figure: "Canvas", name: str, title: str, description: str, caption: str = ""
) -> Figure:
    """Turn a drawn canvas into an element of the page.

    The same data give the same bytes: no date, ids from the name alone.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with_fallbacks(figure)
    with mpl.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # What no font has is written by its number.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = "".join(legible(line) for line in text.splitlines(keepends=True))
    if re.search(r"\\u\{[0-9a-f]{2,6}\}", text):
        caption = f"{caption} {_ILLEGIBLE}"
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.S)
    text = re.sub(r'(?<=\sid=")', f"{name}-", text)
    text = re.sub(r'(?<=href="#)|(?<=url\(#)', f"{name}-", text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height|xmlns:xlink|version)="[^"]*"', "", head)
    return Figure(
        name=name, svg=f"{head}>{rest}", title=title, description=description, caption=caption
    )


def quiet_axes(axes: "Axes", *, grid: str | None = None) -> None:
    """Take away what carries no information."""
    axes.tick_params(length=3)
    if grid:
        axes.grid(axis=grid, zorder=0)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def fit_axis(axes: "Axes", values: list[float], limits: tuple[float, float]) -> None:
    """Set the horizontal range to the values, within what the metric can be.

    Sites that are all alike are not spread over the page: the axis covers at least 15 % of
    a range that is bounded. No tick stands beyond a bound.
    """
    low, high = (min(values), max(values)) if values else limits
    whole = limits[1] - limits[0]
    if whole < 100:
        missing = max(0.0, _LEAST * whole - (high - low))
        low = max(limits[0], low - missing)
        high = min(limits[1], max(high, low + _LEAST * whole))
    room = 0.04 * (high - low or 1.0)
    axes.set_xlim(low - room, high + room)
    ticks = [tick for tick in axes.get_xticks() if limits[0] - 1e-9 <= tick <= limits[1] + 1e-9]
    axes.set_xticks([tick for tick in ticks if low - room <= tick <= high + room])


def plain_log_axis(axes: "Axes") -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    few = high / low > 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def short(name: str, limit: int = 28) -> str:
    """A site's name for an axis, in letters that can be drawn here; the whole name stands in the table."""
    if len(legible(name)) <= limit:
        return legible(name)
    shown = next(size for size in range(len(name), -1, -1) if len(legible(name[:size])) < limit)
    return f"{legible(name[:shown])}…"


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
