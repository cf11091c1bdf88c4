"""A map of embeddings, twice: by class and by site."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from offsite.evaluation.figures.drawing import (
    QUIET,
    RULE,
    SERIES,
    WIDTH_IN,
    Figure,
    canvas,
    finished,
    quiet_axes,
    short,
)
from offsite.evaluation.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_NO_LABEL, _OTHERS = "no label", "other sites"
_CAPTION = (
    "Each mark is a test image, at the same place in both maps: on the plane in which the training "
    "images vary most. Left its class, right its site; filled marks are of held-out sites. Where "
    "classes lie apart and sites lie over each other, the model goes by the finding. A plane shows "
    "a part of what varies: classes that overlap here may be told apart in the other directions."
)


def embedding_map_figure(rows: pd.DataFrame, classes: list[str], sites: list[str]) -> Figure:
    """Draw both maps.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``embedding_map.csv``.
    classes, sites : list of str
        Order of the legends; of more than eight sites the last are one.
    """
    held_out = (rows["site_role"] == "held_out").to_numpy()
    labels = rows["label"].where(rows["label"] != "", _NO_LABEL).to_numpy(str)
    named = sites if len(sites) <= len(SERIES) else sites[: len(SERIES) - 1]
    places = np.where(rows["site"].isin(named), rows["site"], _OTHERS).astype(str)
    spread = rows[["x", "y"]].to_numpy(np.float64)
    across, up = np.maximum(np.ptp(spread, axis=0), 1e-9)
    with canvas(WIDTH_IN, 1.4 + 3.2 * float(np.clip(up / across, 0.5, 1.0))) as figure:
        left, right = figure.subplots(1, 2)
        _draw(left, spread, labels, [*classes, _NO_LABEL], held_out)
        _name_fillings(left, held_out)
        _draw(right, spread, places, [*named, _OTHERS], held_out)
        for axes, title in ((left, "By class"), (right, "By site")):
            axes.set_title(title)
            axes.set_xlabel(f"First direction: {percent(float(rows['explained_x'].iloc[0]))}")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_aspect("equal", adjustable="datalim")
            quiet_axes(axes)
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, handletextpad=0.2,
                columnspacing=1.0,
            )  # fmt: skip
        left.set_ylabel(f"Second direction: {percent(float(rows['explained_y'].iloc[0]))}")
        said = "; ".join(
            f"{name}: {int((labels == name).sum())} images about ({x:.2g}, {y:.2g})"
            for name in classes if (labels == name).any()
            for x, y in [spread[labels == name].mean(axis=0)]
        )  # fmt: skip
        return finished(figure, "embedding-map", "Embeddings of the test images", said, _CAPTION)


def _draw(
    axes: "Axes", spread: np.ndarray, names: np.ndarray, order: list[str], held_out: np.ndarray
) -> None:
    axes.axhline(0, color=RULE, linewidth=0.6, zorder=0)
    axes.axvline(0, color=RULE, linewidth=0.6, zorder=0)
    for number, name in enumerate(order):
        if not (names == name).any():
            continue
        last = name in (_NO_LABEL, _OTHERS)
        colour = QUIET if last else SERIES[number % len(SERIES)]
        marker = "." if last else _MARKERS[number % len(_MARKERS)]
        for filled in (False, True):
            some = (names == name) & (held_out == filled)
            axes.scatter(
                spread[some, 0], spread[some, 1], s=16, marker=marker, linewidth=0.8, edgecolor=colour,
                facecolor=colour if filled else "none", alpha=0.8, zorder=2 + filled,
            )  # fmt: skip
        filled = bool(held_out[names == name].all())  # a site is of one kind, a class of both
        _name(axes, short(name), marker, colour, filled)


def _name_fillings(axes: "Axes", held_out: np.ndarray) -> None:
    """Say what a filled mark is, where there are both."""
    if held_out.any() and not held_out.all():
        _name(axes, "training sites", "o", QUIET, filled=False)
        _name(axes, "held-out sites", "o", QUIET, filled=True)


def _name(axes: "Axes", name: str, marker: str, colour: str, filled: bool) -> None:
    axes.scatter(
        [], [], s=22, marker=marker, linewidth=1, edgecolor=colour, label=name,
        facecolor=colour if filled else "none",
    )  # fmt: skip
