"""Reliability diagrams: what happened against what was said, site by site."""

import pandas as pd

from offsite.evaluation.figures.curves import small_multiples
from offsite.evaluation.figures.dots import safe_name
from offsite.evaluation.figures.drawing import ACCENT, INK, QUIET, RULE, Figure

_CAPTION = (
    "Observed share against predicted probability, in bins of equal size. The grey band is what a "
    "perfectly calibrated model would show with as few images: about one dot in twenty lies outside "
    "it by chance."
)


def reliability_figure(rows: pd.DataFrame, task: str, name: str) -> Figure:
    """Draw a reliability diagram for every site.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of one task and one calibrator of ``reliability.csv``.
    task, name : str
        For titles and ids.
    """

    def draw(axes, part: pd.DataFrame) -> str:  # type: ignore[no-untyped-def]
        part = part.sort_values("probability")
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--")
        axes.fill_between(
            part["probability"],
            part["band_low"],
            part["band_high"],
            color=RULE,
            alpha=0.8,
            linewidth=0,
        )
        axes.vlines(part["probability"], part["low"], part["high"], color=INK, linewidth=0.9)
        inside = part["observed"].between(part["band_low"] - 1e-12, part["band_high"] + 1e-12)
        axes.scatter(
            part["probability"], part["observed"], s=16, color=ACCENT, zorder=3, linewidth=0
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        return f"{int((~inside).sum())} of {len(part)} bins outside the band of chance"

    return small_multiples(
        rows[rows["observed"].notna()],
        draw,
        title=f"Reliability of the probability of {task}",
        name=safe_name(name),
        labels=("Predicted probability", "Observed share"),
        caption=_CAPTION,
        square=True,
    )
