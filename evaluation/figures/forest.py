"""The forest plot: one line per site, the pooled value, and what to expect at a new hospital."""

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
    quiet_axes,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CAPTION = (
    "Lines are {}. Filled squares are held-out sites, open circles training sites, "
    "larger with more images; the diamond is all rows pooled, the bar what to expect at a new "
    "hospital."
)


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One line of the plot.

    Attributes
    ----------
    label, note : str
        Name at the left and text at the right (value and interval, or why there is none).
    value, low, high : float or None
        Estimate and 95 % interval.
    weight : float
        Share of the evidence, in [0, 1]; the marker's area.
    kind : str
        ``training``, ``held_out``, ``pooled`` (a diamond) or ``prediction`` (a bar).
    """

    label: str
    note: str
    value: float | None
    low: float | None
    high: float | None
    weight: float = 0.5
    kind: str = "training"


def forest_plot(
    rows: list[ForestRow],
    metric: str,
    name: str = "forest",
    *,
    limits: tuple[float, float],
    intervals: str = "95\u202f% intervals",
) -> Figure:
    """Draw the estimates of one metric at every site.

    Parameters
    ----------
    rows : list of ForestRow
        In the order of the page, the first on top.
    metric : str
        Name of the metric with its unit.
    name : str
        Name of the figure.
    limits : (float, float)
        The range the metric can take; the axis keeps within it.
    intervals : str
        What the lines are, for the caption.
    """
    count = len(rows)
    with canvas(WIDTH_IN, 0.9 + 0.3 * count) as figure:
        axes = figure.subplots()
        pooled = next((row.value for row in rows if row.kind == "pooled"), None)
        if pooled is not None:
            axes.axvline(pooled, color=RULE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        for index, row in enumerate(rows):
            _draw(axes, row, count - 1 - index)
        axes.set_yticks(range(count - 1, -1, -1), [short(row.label) for row in rows])
        axes.set_ylim(-0.7, count - 0.3)
        values = [v for row in rows for v in (row.low, row.value, row.high) if v is not None]
        fit_axis(axes, values, limits)
        axes.set_xlabel(metric)
        quiet_axes(axes, grid="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        _notes(axes, rows)
        said = "; ".join(f"{row.label}: {row.note}" for row in rows)
        return finished(figure, name, f"{metric} by site", said, _CAPTION.format(intervals))


def _draw(axes: "Axes", row: ForestRow, y: float) -> None:
    if row.kind == "prediction" and row.low is not None and row.high is not None:
        axes.plot(
            [row.low, row.high],
            [y, y],
            color=ACCENT,
            linewidth=6,
            alpha=0.35,
            solid_capstyle="butt",
        )
        return
    if row.value is None:
        return
    if row.low is not None and row.high is not None:
        if row.kind == "pooled":
            axes.fill(
                [row.low, row.value, row.high, row.value],
                [y, y + 0.24, y, y - 0.24],
                color=INK,
                linewidth=0,
            )
            return
        axes.plot([row.low, row.high], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
    held_out = row.kind == "held_out"
    axes.scatter(
        [row.value],
        [y],
        s=22 + 70 * row.weight,
        marker="s" if held_out else "o",
        facecolor=ACCENT if held_out else "white",
        edgecolor=ACCENT if held_out else INK,
        linewidth=1.2,
        zorder=3,
    )


def _notes(axes: "Axes", rows: list[ForestRow]) -> None:
    for index, row in enumerate(rows):
        axes.annotate(
            row.note,
            (1.0, len(rows) - 1 - index),
            xycoords=("axes fraction", "data"),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            color=INK if row.value is not None or row.low is not None else QUIET,
            annotation_clip=False,
        )
