"""Decision curves: whether acting on the model beats acting on everyone or on no one."""

import pandas as pd

from offsite.evaluation.figures.curves import small_multiples
from offsite.evaluation.figures.dots import safe_name
from offsite.evaluation.figures.drawing import ACCENT, INK, QUIET, Figure

_CAPTION = (
    "Net benefit per image against the probability at which one would act. Solid: the model, with "
    "its interval; dashed: acting on everyone; the line at 0: on no one. The model helps where its "
    "line is above both."
)


def net_benefit_figure(rows: pd.DataFrame, task: str, name: str) -> Figure:
    """Draw a decision curve for every site.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of one task of ``net_benefit.csv``.
    task, name : str
        For titles and ids.
    """

    def draw(axes, part: pd.DataFrame) -> str:  # type: ignore[no-untyped-def]
        part = part.sort_values("threshold")
        axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.plot(part["threshold"], part["treat_all"], color=INK, linewidth=1, linestyle="--")
        axes.fill_between(
            part["threshold"], part["low"], part["high"], color=ACCENT, alpha=0.18, linewidth=0
        )
        axes.plot(part["threshold"], part["net_benefit"], color=ACCENT, linewidth=1.6)
        top = max(float(part["high"].fillna(part["net_benefit"]).max()), 0.05)
        axes.set_ylim(-0.25 * top, 1.08 * top)
        helps = part[part["advantage_low"] > 0]["threshold"]
        if helps.empty:
            return "the model helps at no threshold beyond chance"
        return f"the model helps between thresholds {helps.min():g} and {helps.max():g}"

    return small_multiples(
        rows[rows["net_benefit"].notna() & (rows["n_positive"] > 0)],
        draw,
        title=f"Decision curves for {task}",
        name=safe_name(name),
        labels=("Threshold probability", "Net benefit"),
        caption=_CAPTION,
    )
