"""Confusion matrices, one per site: shares of the true class, counts written inside."""

import math

import numpy as np
import pandas as pd

from offsite.evaluation.figures.curves import MOST, label_of
from offsite.evaluation.figures.drawing import INK, WIDTH_IN, Figure, canvas, finished, short

_CAPTION = (
    "Rows are the true class, columns what the model calls it. The shade is the share of the row, "
    "the number the count; the diagonal is right."
)


def confusion_figure(
    rows: pd.DataFrame, classes: list[str], sites: list[tuple[str, str]]
) -> Figure:
    """Draw a matrix for each site.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``confusion.csv``.
    classes : list of str
        In the model's order.
    sites : list of (site, role)
        Order of the matrices; the first twelve are drawn.
    """
    shown = sites[:MOST]
    columns = min(4, max(2, len(shown)))
    lines = max(1, math.ceil(len(shown) / columns))
    with canvas(WIDTH_IN, 0.35 + lines * WIDTH_IN / columns * 1.05) as figure:
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        said = []
        for number, (axes, key) in enumerate(zip(grid, shown, strict=False)):
            part = rows[(rows["site"] == key[0]) & (rows["site_role"] == key[1])]
            counts = (
                part.pivot_table(
                    index="true_class", columns="predicted_class", values="count", aggfunc="sum"
                )
                .reindex(index=classes, columns=classes)
                .fillna(0)
                .to_numpy()
            )
            label = label_of(*key)
            _matrix(axes, counts, classes, first=number % columns == 0)
            axes.set_title(short(label, 24), fontsize=9)
            total = counts.sum()
            right = f"{np.trace(counts) / total:.2f} right of {total:.0f}" if total else "no labels"
            said.append(f"{label}: {right}")
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        return finished(
            figure, "confusion", "What is called what, by site", "; ".join(said), _CAPTION
        )


def _matrix(axes, counts: np.ndarray, classes: list[str], *, first: bool) -> None:  # type: ignore[no-untyped-def]
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts, dtype=float), where=totals > 0)
    # Drawn as polygons, not as an image: an SVG with pixels inside is blurred by some printers.
    axes.pcolormesh(shares, cmap="Greys", vmin=0, vmax=1.15, edgecolors="white", linewidth=1)
    for row in range(len(classes)):
        for column in range(len(classes)):
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{counts[row, column]:.0f}",
                ha="center",
                va="center",
                fontsize=8 if len(classes) < 6 else 6.5,
                color="white" if shares[row, column] > 0.55 else INK,
            )
    names = [short(name, 11) for name in classes]
    ticks = np.arange(len(classes)) + 0.5
    axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(ticks, names if first else [], fontsize=8)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
