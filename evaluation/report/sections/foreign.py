"""Whether the model notices images that it should not judge."""

import pandas as pd

from offsite.evaluation.alarms import first_detector
from offsite.evaluation.figures.dots import dot_strip
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.report.content import Cell, Column, Group, Section, Table
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import Record, dot_of, numbers, sites_of
from offsite.evaluation.tables.reading import Evaluated, records
from offsite.evaluation.wording import interval, number, percent, reason

_CATEGORIES = {
    "in_distribution": "Training sites, test images",
    "covariate_shifted": "Held-out sites",
    "near": "Near: other kind of image",
    "far": "Far: never meant for this model",
}


def section(evaluated: Evaluated, findings: Findings) -> Section | None:
    """Flag rates and separation of the first detector; the others behind a fold."""
    table = evaluated.measured("ood")
    if table is None:
        return None
    detectors = list(dict.fromkeys(table["detector"]))
    detector = first_detector(table)
    tables = [_table(findings, table, detector, folded=False)]
    tables += [_table(findings, table, name, folded=True) for name in detectors if name != detector]
    return Section(
        anchor="foreign",
        title="Does it notice foreign images?",
        lead=(
            "A detector gives every image a score for being unlike the training images. Its "
            "threshold lets 95\u202f% of the training sites' validation images pass, so about 5\u202f% are "
            "flagged where nothing has changed.",
        ),
        tables=tuple(tables),
        figures=(_strip(findings, table, detector),),
        notes=(
            f"The table shows {_named(detector)}, the first of the configured detectors that "
            "could be fitted: none is chosen by its result. AUROC against familiar images says "
            "whether the site is noticed; AUROC for errors, whether the mistakes are. A detector "
            "that is good at the first and near 0.5 in the second knows the scanner, not the "
            "error.",
        ),
    )


def _named(detector: str) -> str:
    return detector.replace("_", " ")


def _rows(table: pd.DataFrame, detector: str, metric: str) -> pd.DataFrame:
    return table[(table["detector"] == detector) & (table["metric"] == metric)]


def _table(findings: Findings, table: pd.DataFrame, detector: str, *, folded: bool) -> Table:
    flags, separation = (_rows(table, detector, metric) for metric in ("flag_rate", "auroc"))
    errors = {
        str(row["site"]): row for row in records(separation[separation["category"] == "error"])
    }
    groups = []
    for category, heading in _CATEGORIES.items():
        apart = {
            str(row["site"]): row for row in records(separation[separation["category"] == category])
        }
        of_category = flags[flags["category"] == category]
        rows = tuple(
            (
                Cell(text=str(row["site"])),
                _value(row, share=True),
                _value(apart.get(str(row["site"]))),
                _value(errors.get(str(row["site"])) if category in _OWN else None),
            )
            for row in sites_of(findings, of_category)
        )
        groups.append(Group(heading=heading, rows=rows))
    caption = f"Detector: {_named(detector)}"
    return Table(
        caption=caption,
        columns=(
            Column(heading="Site", numeric=False),
            Column(heading="Flagged", about="flag_rate"),
            Column(heading="AUROC against familiar images", about="auroc"),
            Column(heading="AUROC for errors", about="auroc"),
        ),
        groups=tuple(groups),
        folded=caption if folded else "",
        source="ood",
    )


_OWN = ("in_distribution", "covariate_shifted")


def _value(row: Record | None, *, share: bool = False) -> Cell:
    if row is None:
        return Cell(text="")
    value, low, high = numbers(row)
    if value is None:
        return Cell(text=reason(str(row["reason"])), kind="undefined")
    if share:
        return Cell(text=percent(value), note=_bounds(low, high))
    return Cell(text=number(value), note=interval(low, high))


def _bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:.0f}–{100 * high:.0f}\u202f%"


def _strip(findings: Findings, table: pd.DataFrame, detector: str) -> Figure:
    rows = _rows(table, detector, "flag_rate")

    def note(row: Record) -> str:
        value, low, high = numbers(row)
        return f"{percent(value)} ({_bounds(low, high)})"

    dots = [
        dot_of(row, note, kind="training" if category == "in_distribution" else "held_out")
        for category in _CATEGORIES
        for row in sites_of(findings, rows[rows["category"] == category])
    ]
    return dot_strip(
        dots,
        f"Share of images flagged ({_named(detector)})",
        "flag-rate",
        mark=0.05,
        mark_words="expected",
        limits=(0.0, 1.0),
    )
