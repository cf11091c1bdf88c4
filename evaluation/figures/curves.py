"""Curves of the sites: reliability and decision curves in small multiples, risk against coverage."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from offsite.evaluation.figures.dots import safe_name
from offsite.evaluation.figures.drawing import (
    ACCENT,
    DASHES,
    INK,
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 12
_POOLED = {"training": "Training sites, pooled", "held_out": "Held-out sites, pooled"}

_DECISION = (
    "Net benefit per image against the probability at which one would act. Solid: the model, with "
    "its interval; dashed: acting on everyone; the line at 0: on no one. The model helps where its "
    "line is above both."
)
_RELIABILITY = (
    "Observed share against predicted probability, in bins of equal size. The grey band is what a "
    "perfectly calibrated model would show with as few images: about one dot in twenty lies outside "
    "it by chance."
)
_RISK = (
    "Share of errors among the cases that the model keeps, when it keeps only its most confident "
    "ones. A line that does not fall towards the left says that confidence does not find the "
    "errors at that site. Held-out sites are drawn heavier."
)


def label_of(site: str, role: str) -> str:
    """What a panel is called: a site, or all sites of a role."""
    return _POOLED.get(role, "All pooled") if site == "_pooled" else site


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
            label = label_of(site, role)
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


def net_benefit_figure(rows: pd.DataFrame, task: str, name: str) -> Figure:
    """Draw a decision curve for every site.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of one task of ``net_benefit.csv``.
    task, name : str
        For titles and ids.
    """

    def draw(axes: "Axes", part: pd.DataFrame) -> str:
        part = part.sort_values("threshold")
        axes.axhline(0, color=QUIET, linewidth=0.8)
        at, low, high = part["threshold"], part["low"], part["high"]
        axes.plot(at, part["treat_all"], color=INK, linewidth=1, linestyle="--")
        axes.fill_between(at, low, high, color=ACCENT, alpha=0.18, linewidth=0)
        axes.plot(at, part["net_benefit"], color=ACCENT, linewidth=1.6)
        top = max(float(high.fillna(part["net_benefit"]).max()), 0.05)
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
        caption=_DECISION,
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

    def draw(axes: "Axes", part: pd.DataFrame) -> str:
        part = part.sort_values("probability")
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--")
        said, seen, band = part["probability"], part["observed"], part[["band_low", "band_high"]]
        axes.fill_between(said, *band.T.to_numpy(), color=RULE, alpha=0.8, linewidth=0)
        axes.vlines(said, part["low"], part["high"], color=INK, linewidth=0.9)
        inside = seen.between(band["band_low"] - 1e-12, band["band_high"] + 1e-12)
        axes.scatter(said, seen, s=16, color=ACCENT, zorder=3, linewidth=0)
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
        caption=_RELIABILITY,
        square=True,
    )


def risk_coverage_figure(rows: pd.DataFrame, sites: list[str]) -> Figure:
    """Draw a curve for each of at most eight sites.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``risk_coverage.csv``.
    sites : list of str
        Order of the lines; the first eight are drawn.
    """
    with canvas(WIDTH_IN, 3.1) as figure:
        axes = figure.subplots()
        said = []
        for index, site in enumerate(sites[: len(SERIES)]):
            part = rows[rows["site"] == site].sort_values("coverage")
            part = part[part["n"] * part["coverage"] >= 5]  # fewer cases are a random walk
            if part.empty:
                continue
            heavy = (part["site_role"] == "held_out").all()
            axes.plot(
                part["coverage"],
                part["selective_risk"],
                color=SERIES[index],
                linestyle=DASHES[index],
                linewidth=2.0 if heavy else 1.1,
                label=short(site),
            )
            half = part.iloc[(part["coverage"] - 0.5).abs().argmin()]
            said.append(
                f"{site}: {part['selective_risk'].iloc[-1]:.2f} of all cases wrong, "
                f"{half['selective_risk']:.2f} of the more confident half"
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Share of cases kept, the most confident first")
        axes.set_ylabel("Errors among them")
        quiet_axes(axes, grid="y")
        if said:
            figure.legend(loc="outside right upper", handlelength=3.2)
        return finished(
            figure, "risk-coverage", "Errors left against cases kept", "; ".join(said), _RISK
        )
