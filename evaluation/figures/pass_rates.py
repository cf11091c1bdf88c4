"""How often a gate lets candidates pass: by its rules, and by how many patients there are."""

from typing import TYPE_CHECKING

import pandas as pd

from offsite.evaluation.figures.drawing import (
    DASHES,
    INK,
    SERIES,
    WIDTH_IN,
    Figure,
    canvas,
    finished,
    quiet_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CAPTION = (
    "Share of simulated candidates that meet each rule, and all of them (heavy), with 95 % intervals"
    " of the simulation."
)


def pass_rate_figure(rates: pd.DataFrame, whole: str) -> Figure:
    """Draw a panel for each candidate: rates over sizes, or a line of dots where there is one size.

    Parameters
    ----------
    rates : pandas.DataFrame
        ``patients, candidate, rule, rate, low, high``.
    whole : str
        The rule that stands for all together.
    """
    candidates, rules = list(rates["candidate"].unique()), list(rates["rule"].unique())
    sizes = sorted(rates["patients"].unique())
    drawn = _over_sizes if len(sizes) > 1 else _by_rule
    height = 3.0 + 0.2 * len(rules) if len(sizes) > 1 else 1.1 + 0.3 * len(rules)
    with canvas(WIDTH_IN, height) as figure:
        row = figure.subplots(1, len(candidates), sharey=True, squeeze=False)[0]
        for axes, candidate in zip(row, candidates, strict=True):
            drawn(axes, rates[rates["candidate"] == candidate], rules, whole)
            axes.set_title(str(candidate))
        if len(sizes) > 1:
            row[0].set_ylabel("Share that passes")
            figure.supxlabel("Patients at each site", fontsize=9.5)
            handles, labels = row[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower left", ncols=2)
        else:
            row[0].set_yticks(range(len(rules) - 1, -1, -1), rules)
            figure.supxlabel("Share that passes", fontsize=9.5)
        return finished(
            figure, "gate-plan", "How often the gate passes", _said(rates, whole), _CAPTION
        )


def _over_sizes(axes: "Axes", rates: pd.DataFrame, rules: list[str], whole: str) -> None:
    for index, rule in enumerate(rules):
        part = rates[rates["rule"] == rule].sort_values("patients")
        heavy = rule == whole
        color = INK if heavy else SERIES[index % len(SERIES)]
        axes.plot(
            part["patients"],
            part["rate"],
            label=rule,
            color=color,
            linestyle="-" if heavy else DASHES[index % len(DASHES)],
            linewidth=2.4 if heavy else 1.2,
            zorder=3 if heavy else 2,
        )
        if heavy:
            axes.fill_between(
                part["patients"], part["low"], part["high"], color=color, alpha=0.15, linewidth=0
            )
    axes.set_xscale("log")
    sizes = sorted(rates["patients"].unique())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=90)
    axes.set_xticks([], minor=True)
    axes.set_ylim(-0.03, 1.03)
    quiet_axes(axes, grid="y")


def _by_rule(axes: "Axes", rates: pd.DataFrame, rules: list[str], whole: str) -> None:
    for index, rule in enumerate(rules):
        y, part = len(rules) - 1 - index, rates[rates["rule"] == rule].iloc[0]
        color = INK if rule == whole else SERIES[0]
        axes.plot([part["low"], part["high"]], [y, y], color=color, linewidth=1.2)
        axes.scatter([part["rate"]], [y], s=46 if rule == whole else 26, color=color, zorder=3)
    axes.set_xlim(-0.05, 1.05)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_ylim(-0.7, len(rules) - 0.3)
    quiet_axes(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _said(rates: pd.DataFrame, whole: str) -> str:
    rows = rates[rates["rule"] == whole].to_dict("records")
    return "; ".join(
        f"{row['candidate']} with {row['patients']} patients a site: {100 * row['rate']:.0f} % pass"
        for row in rows
    )
