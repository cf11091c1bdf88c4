"""Small multiples: the same picture for every site, on the same axes."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from offsite.evaluation.figures.drawing import WIDTH_IN, Figure, canvas, finished, quiet_axes, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 12
_POOLED = {"training": "Training sites, pooled", "held_out": "Held-out sites, pooled"}


def small_multiples(
    rows: pd.DataFrame,
    draw: Callable[["Axes", pd.DataFrame], str],
    *,
    title: str,
    name: str,
    labels: tuple[str, str],
    caption: str,
    square: bool = False,
) -> Figure:
    """Draw one panel per site.

    Parameters
    ----------
    rows : pandas.DataFrame
        With ``site`` and ``site_role``; with more than twelve sites, those that stand first.
    draw : callable
        Draws a site's rows on its axes, and says in words what is seen.
    title, name, caption : str
        Of the figure.
    labels : (str, str)
        Of the axes.
    square : bool
        Whether panels are square (probabilities on both axes).
    """
    places = list(dict.fromkeys(zip(rows["site"], rows["site_role"], strict=True)))
    shown = [key for key in places if key != ("_pooled", "all")][:MOST]
    columns = min(4, max(2, len(shown)))
    lines = max(1, math.ceil(len(shown) / columns))
    width = WIDTH_IN * columns / 4 if columns < 4 else WIDTH_IN
    with canvas(
        WIDTH_IN if columns > 2 else width, 0.5 + lines * (2.05 if square else 1.75)
    ) as figure:
        grid = figure.subplots(lines, columns, sharex=True, sharey=square, squeeze=False).ravel()
        said = []
        for axes, (site, role) in zip(grid, shown, strict=False):
            part = rows[(rows["site"] == site) & (rows["site_role"] == role)]
            label = _POOLED.get(role, "All pooled") if site == "_pooled" else site
            said.append(f"{label}: {draw(axes, part)}")
            axes.set_title(short(label, 24), fontsize=9)
            quiet_axes(axes, grid="both")
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        figure.supxlabel(labels[0], fontsize=9.5)
        figure.supylabel(labels[1], fontsize=9.5)
        if len(places) > len(shown) + 1:
            caption += f" The first {MOST} sites are shown; the others stand in the table."
        return finished(figure, name, title, "; ".join(said), caption)
