"""Strips of dots with intervals, one line per site: forest plots, and what was promised against it."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offsite.evaluation.figures.drawing import (
    ACCENT,
    INK,
    QUIET,
    RULE,
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

    Attributes
    ----------
    label, note : str
        Name at the left, and the same as the marks in words at the right.
    value, low, high : float or None
        Estimate and interval.
    kind : str
        ``training`` (an open circle), ``held_out`` (a filled square), ``pooled`` (a diamond) or
        ``prediction`` (a bar).
    area : float
        Of the marker, in square points.
    """

    label: str
    note: str
    value: float | None
    low: float | None
    high: float | None
    kind: str = "training"
    area: float = 30.0


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
    label: str,
    name: str,
    *,
    limits: tuple[float, float],
    title: str = "",
    mark: float | None = None,
    mark_words: str = "",
    caption: str = "",
) -> Figure:
    """Draw one strip with its notes.

    Parameters
    ----------
    dots : list of Dot
        In the order of the page, the first on top. A pooled one is a line through all.
    label, name : str
        What the axis shows, and the figure's name.
    limits : (float, float)
        The range of the axis' quantity; the axis keeps within it.
    title, caption : str
        Of the figure; unset: the label, and what the marks stand for.
    mark, mark_words
        The value that was promised or is expected, and what it is.
    """
    with canvas(WIDTH_IN, 0.85 + 0.3 * len(dots)) as figure:
        axes = figure.subplots()
        pooled = next((dot.value for dot in dots if dot.kind == "pooled"), None)
        if pooled is not None:
            axes.axvline(pooled, color=RULE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        _draw(axes, Panel(title="", dots=dots, mark=mark))
        _names(axes, dots)
        values = [v for dot in dots for v in (dot.low, dot.value, dot.high, mark) if v is not None]
        fit_axis(axes, values, limits)
        axes.set_xlabel(label)
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
                color=INK if dot.value is not None or dot.low is not None else QUIET,
                annotation_clip=False,
            )
        said = "; ".join(f"{dot.label}: {dot.note}" for dot in dots)
        return finished(figure, safe_name(name), title or label, said, caption or _CAPTION)


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
        _mark(axes, dot, count - 1 - index)
    axes.set_ylim(-0.7, count - 0.3)
    quiet_axes(axes, grid="x")
    if panel.log:
        plain_log_axis(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _mark(axes: "Axes", dot: Dot, y: float) -> None:
    bounds = None if dot.low is None or dot.high is None else (dot.low, dot.high)
    if bounds and dot.kind == "prediction":
        axes.plot(bounds, [y, y], color=ACCENT, linewidth=6, alpha=0.35, solid_capstyle="butt")
    if dot.value is None:
        return
    if bounds and dot.kind == "pooled":
        low, high = bounds
        diamond = [y, y + 0.24, y, y - 0.24]
        axes.fill([low, dot.value, high, dot.value], diamond, color=INK, linewidth=0)
        return
    if bounds:
        axes.plot(bounds, [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
    held_out = dot.kind == "held_out"
    axes.scatter(
        [dot.value],
        [y],
        s=dot.area,
        marker="s" if held_out else "o",
        linewidth=1.2,
        facecolor=ACCENT if held_out else "white",
        edgecolor=ACCENT if held_out else INK,
        zorder=3,
    )


def _names(axes: "Axes", dots: list[Dot]) -> None:
    axes.set_yticks(range(len(dots) - 1, -1, -1), [short(dot.label) for dot in dots])
    axes.tick_params(axis="y", length=0)
