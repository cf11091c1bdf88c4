"""``offsite site plan``: how many local cases to collect, before any is."""

from typing import Annotated

import typer

_WIDTHS = (0.1, 0.05, 0.03)


def plan(
    prevalence: Annotated[
        float,
        typer.Option(min=0.001, max=0.999, help="Share of positive cases at the site (0..1)."),
    ],
    sensitivity: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="What is expected, or wanted (0..1).")
    ] = 0.9,
    within: Annotated[
        list[float] | None,
        typer.Option(help="Wanted distance of the interval's ends (0..1); repeatable."),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
) -> None:
    """Say how many cases of a site it takes to state a sensitivity, or to set a threshold.

    Takes what is expected there; gives the positive cases needed, and the cases of which there are
    so many in nine of ten collections. A case is a patient.

    Example: offsite site plan --prevalence 0.15 --sensitivity 0.9 --within 0.05
    """
    from offsite.workflows.console.messages import data
    from offsite.workflows.console.tables import plain_table
    from offsite.workflows.site.planning import planned

    shown = plain_table(f"sensitivity {sensitivity:g}, prevalence {prevalence:g}")
    for column in ("within", "of", "positive cases", "cases, in 9 of 10"):
        shown.add_column(column, justify="left" if column == "of" else "right")
    for width in within or _WIDTHS:
        for what, positives, cases in planned(sensitivity, prevalence, width, confidence):
            shown.add_row(f"± {width:g}", what, positives, cases)
    data.print(shown)
