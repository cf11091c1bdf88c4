"""Sets of classes with a promised coverage, and what confidence is worth at each site."""

import pandas as pd

from offsite.evaluation.figures.curves import risk_coverage_figure
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.metrics.names import described
from offsite.evaluation.report.content import Column, Section, Table
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import GridColumn, grid, metric_columns, sites_of
from offsite.evaluation.wording import level as stated
from offsite.evaluation.wording import percent

_KEPT = "Accuracy when the model keeps its confident cases"
_SELECTIVE = (
    *("accuracy", "accuracy_at_80", "accuracy_at_threshold_80", "coverage_at_threshold_80"),
    "augrc",
)


def sets_section(findings: Findings, table: pd.DataFrame) -> Section:
    """Coverage and size of the prediction sets at each site."""
    whole = table[table["label"] == "_all"]
    tables = []
    for weighted in (False, True):
        for level in sorted(set(whole["level"])):
            rows = whole[(whole["level"] == level) & (whole["weighted"].astype(bool) == weighted)]
            if len(rows):
                asked = not weighted and level == whole["level"].min()
                tables.append(_sets(findings, rows, asked=asked, weighted=weighted))
    return Section(
        anchor="sets",
        title="Prediction sets",
        lead=(
            "In place of one class the model can name a set that holds the true class with a "
            "promised probability. The promise is kept at hospitals like those it was calibrated "
            "on; the table shows where else.",
        ),
        tables=tuple(tables),
        notes=(
            "Referred: too few calibration cases for the promise, or none that resemble this site, "
            "so every class in doubt stays in the set and a reader decides. Sets with one class are "
            "answers; sets with all classes say nothing.",
        ),
    )


def selective_section(findings: Findings, table: pd.DataFrame) -> Section:
    """What is left of the errors when the least confident cases go to a reader."""
    columns = metric_columns(table, _SELECTIVE)
    curves = findings.evaluated.table("risk_coverage")
    figures: tuple[Figure, ...] = ()
    if curves is not None:
        sites = [row["site"] for row in sites_of(findings, curves.drop_duplicates("site"))]
        figures = (risk_coverage_figure(curves, sites),)
    return Section(
        anchor="selective",
        title="Leaving the doubtful cases to a reader",
        tables=(grid(findings, columns, _KEPT, source="selective"),),
        figures=figures,
        notes=(
            "The most confident 80\u202f% are taken within each site, which needs all its cases at "
            "once; the training sites' threshold is what a hospital would really use. AUGRC is the "
            "mean share of cases that are kept and wrong: less is better.",
        ),
    )


def _sets(findings: Findings, rows: pd.DataFrame, *, asked: bool, weighted: bool) -> Table:
    how = "weighted by likeness to the site" if weighted else "calibrated on the training sites"
    caption = f"Sets promised to hold the truth in {stated(float(rows['level'].iloc[0]))}, {how}"

    def column(name: str, heading: str = "", **options: object) -> GridColumn:
        metric = "" if heading else name
        return GridColumn(
            column=Column(heading or described(name).short, about=metric),
            rows=rows,
            value=name,
            **options,  # type: ignore[arg-type]
        )

    cases = "n_effective" if weighted else "n_calibration"
    return grid(
        findings,
        [
            column("coverage", alarm="sets" if asked else ""),
            column("mean_size", bounds=False),
            column("singleton_rate", bounds=False, format=percent),
            column("empty_rate", bounds=False, format=percent),
            column("refer_rate", bounds=False, format=percent),
            column(cases, "Calibration cases", bounds=False, format=lambda value: f"{value:,.0f}"),
        ],
        caption,
        source="conformal",
        folded=caption if weighted else "",
    )
