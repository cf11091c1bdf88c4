"""The figure of ``evidence_sources.py``: differences by the number of sources, with their intervals."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from evidence import paired_interval
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offsite.evaluation.figures.drawing import (
    QUIET,
    SERIES,
    canvas,
    quiet_axes,
    with_fallbacks,
)
from offsite.files import write_text

SHOWN = {"auc": "AUC over pairs of grades", "kappa": "quadratic kappa"}
MARKS = "osD^"


def draw(
    path: Path,
    panels: Mapping[str, pd.DataFrame],
    conditions: Sequence[tuple[int, float]],
    differences: Sequence[tuple[str, str]],
) -> None:
    """Draw a row for each figure of merit and a column for each set of photographs.

    Differences are paired over seeds, with 95 % t intervals; one that fewer than three seeds have is left out,
    and so is a column of such alone.
    """
    panels = {
        title: found
        for title, found in panels.items()
        if len(found) and found["seed"].nunique() > 2
    }
    with canvas(7.6, 4.6) as figure:
        axes = figure.subplots(len(SHOWN), len(panels), sharex=True, sharey="row", squeeze=False)
        for column, (title, found) in enumerate(panels.items()):
            for row, (metric, words) in enumerate(SHOWN.items()):
                one = axes[row, column]
                one.axhline(0, color=QUIET, linewidth=0.8)
                for number, pair in enumerate(differences):
                    _line(one, found, metric, conditions, pair, number, len(differences))
                one.set_xticks(range(len(conditions)), [_name(c) for c in conditions])
                quiet_axes(one, grid="y")
                if row == 0:
                    one.set_title(title)
                if column == 0:
                    one.set_ylabel(f"difference of {words}", fontsize=7.5)
        for one in axes[-1]:
            one.set_xlabel("sources", fontsize=8.5)
        handles, labels = max(
            (one.get_legend_handles_labels() for one in axes[0]), key=lambda f: len(f[0])
        )
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        with_fallbacks(figure)
        _save(figure, path)


def _line(
    axes: Axes, found: pd.DataFrame, metric: str, conditions: Sequence[tuple[int, float]],
    pair: tuple[str, str], number: int, of: int,
) -> None:  # fmt: skip
    places, means, halves = [], [], []
    for place, (sources, lean) in enumerate(conditions):
        here = found[(found["sources"] == sources) & (found["lean"] == lean)]
        apart = paired_interval(here, metric, *pair, ["seed"])
        if apart is not None:
            places.append(place + 0.14 * (number - (of - 1) / 2))
            means.append(apart[0])
            halves.append(apart[1])
    if places:
        axes.errorbar(
            places, means, halves, fmt=MARKS[number], color=SERIES[number], markersize=4,
            capsize=2, linewidth=1.1, label=f"{pair[0]} − {pair[1]}",
        )  # fmt: skip


def _name(condition: tuple[int, float]) -> str:
    sources, lean = condition
    return f"{sources}" + ("" if lean else ",\nno lean")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(
            held, format="svg", facecolor="white", metadata={"Date": None, "Creator": None}
        )
    write_text(path, "\n".join(line.rstrip() for line in held.getvalue().splitlines()) + "\n")
