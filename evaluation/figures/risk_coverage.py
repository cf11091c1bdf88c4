"""Risk against coverage: how many errors are left when the least confident cases are put aside."""

import pandas as pd

from offsite.evaluation.figures.drawing import (
    DASHES,
    SERIES,
    WIDTH_IN,
    Figure,
    canvas,
    finished,
    quiet_axes,
    short,
)

_CAPTION = (
    "Share of errors among the cases that the model keeps, when it keeps only its most confident "
    "ones. A line that does not fall towards the left says that confidence does not find the "
    "errors at that site. Held-out sites are drawn heavier."
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
        figure.legend(loc="outside right upper", handlelength=3.2)
        return finished(
            figure, "risk-coverage", "Errors left against cases kept", "; ".join(said), _CAPTION
        )
