"""Whether the model notices images that it should not judge."""

from dataclasses import replace

import pandas as pd

from offsite.evaluation.alarms import first_detector
from offsite.evaluation.figures.dots import dot_strip
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.report.content import Cell, Column, Section, Table, group, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import dot_of, numbers, sites_of, value_cell
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.wording import percent

_CATEGORIES = {
    "in_distribution": "Training sites, test images",
    "covariate_shifted": "Held-out sites",
    "near": "Near: other kind of image",
    "far": "Far: never meant for this model",
}


def section(findings: Findings, table: pd.DataFrame) -> Section:
    """Flag rates and separation of the first detector; the others behind a fold."""
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
    flags = _rows(table, detector, "flag_rate")
    areas = {
        (row["category"], row["site"]): row for row in records(_rows(table, detector, "auroc"))
    }
    groups = []
    for category, heading in _CATEGORIES.items():
        rows = [
            (
                row["site"],
                _flagged(row),
                value_cell(areas.get((category, row["site"]))),
                value_cell(areas.get(("error", row["site"])) if category in _OWN else None),
            )
            for row in sites_of(findings, flags[flags["category"] == category])
        ]
        groups.append(group(heading, rows))
    caption = f"Detector: {_named(detector)}"
    columns = (
        Column("Flagged", about="flag_rate"),
        Column("AUROC against familiar images", about="auroc"),
        Column("AUROC for errors", about="auroc"),
    )
    folds = caption if folded else ""
    return listing(caption, ("Site",), columns, groups=groups, folded=folds, source="ood")


_OWN = ("in_distribution", "covariate_shifted")


def _flagged(row: Record) -> Cell:
    cell, (value, low, high) = value_cell(row), numbers(row)
    return cell if value is None else replace(cell, text=percent(value), note=_bounds(low, high))


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
