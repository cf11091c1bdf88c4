"""A strip of dots with intervals, one line per site, against what was expected."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offsite.evaluation.figures.drawing import (
    ACCENT,
    INK,
    QUIET,
    WIDTH_IN,
    Figure,
    canvas,
    finished,
    fit_axis,
    plain_log_axis,
    quiet_axes,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One line of a strip.

    ``value``, ``low`` and ``high`` are the estimate and its interval, or ``None``; ``filled`` marks
    held-out sites; ``note`` says the same in words.
    """

    label: str
    note: str
    value: float | None
    low: float | None
    high: float | None
    filled: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of several strips that share their sites.

    ``marks`` are positions, one per dot, of what would be expected there (or ``None``).
    """

    title: str
    dots: list[Dot]
    mark: float | None = None
    marks: tuple[float | None, ...] = ()
    log: bool = False


def dot_strip(
    dots: list[Dot],
    title: str,
    name: str,
    *,
    mark: float | None,
    mark_words: str,
    limits: tuple[float, float],
) -> Figure:
    """Draw one strip; ``mark`` is the value that was promised or is expected."""
    with canvas(WIDTH_IN, 0.85 + 0.29 * len(dots)) as figure:
        axes = figure.subplots()
        _draw(axes, Panel(title="", dots=dots, mark=mark))
        _names(axes, dots)
        values = [v for dot in dots for v in (dot.low, dot.value, dot.high, mark) if v is not None]
        fit_axis(axes, values, limits)
        axes.set_xlabel(title)
        if mark is not None:
            axes.annotate(
                f"{mark_words} {mark:g}",
                (mark, len(dots) - 0.45),
                ha="center",
                va="bottom",
                color=ACCENT,
                annotation_clip=False,
            )
        for index, dot in enumerate(dots):
            axes.annotate(
                dot.note,
                (1.0, len(dots) - 1 - index),
                xycoords=("axes fraction", "data"),
                xytext=(10, 0),
                textcoords="offset points",
                va="center",
                color=INK if dot.value is not None else QUIET,
            )
        said = "; ".join(f"{dot.label}: {dot.note}" for dot in dots)
        return finished(figure, safe_name(name), title, said, _CAPTION)


def dot_panels(panels: list[Panel], title: str, name: str, caption: str) -> Figure:
    """Draw several strips side by side over the same sites."""
    dots = panels[0].dots
    with canvas(WIDTH_IN, 1.0 + 0.29 * len(dots)) as figure:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, panel in zip(row, panels, strict=True):
            _draw(axes, panel)
            axes.set_title(panel.title)
        _names(row[0], dots)
        said = ". ".join(
            f"{panel.title}: " + "; ".join(f"{dot.label} {dot.note}" for dot in panel.dots)
            for panel in panels
        )
        return finished(figure, safe_name(name), title, said, caption)


def safe_name(name: str) -> str:
    """A name that can be a file's and an id: a task may be called anything."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "figure"


_CAPTION = "Filled squares are held-out sites, open circles training sites; lines are intervals."


def _draw(axes: "Axes", panel: Panel) -> None:
    count = len(panel.dots)
    if panel.mark is not None:
        axes.axvline(panel.mark, color=ACCENT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for index, expected in enumerate(panel.marks):
        if expected is not None:
            y = count - 1 - index
            axes.plot([expected, expected], [y - 0.3, y + 0.3], color=ACCENT, linewidth=1.5)
    for index, dot in enumerate(panel.dots):
        y = count - 1 - index
        if dot.value is None:
            continue
        if dot.low is not None and dot.high is not None:
            axes.plot([dot.low, dot.high], [y, y], color=INK, linewidth=1.2)
        axes.scatter(
            [dot.value],
            [y],
            s=30,
            marker="s" if dot.filled else "o",
            linewidth=1.2,
            facecolor=ACCENT if dot.filled else "white",
            edgecolor=ACCENT if dot.filled else INK,
            zorder=3,
        )
    axes.set_ylim(-0.7, count - 0.3)
    quiet_axes(axes, grid="x")
    if panel.log:
        plain_log_axis(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _names(axes: "Axes", dots: list[Dot]) -> None:
    axes.set_yticks(range(len(dots) - 1, -1, -1), [short(dot.label) for dot in dots])
    axes.tick_params(axis="y", length=0)
