"""How each site differs from what the model was trained and tested on, and whether it matters."""

import pandas as pd

from offsite.evaluation.figures.dots import Dot, Panel, dot_panels
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.report.content import Cell, Column, Section, Table
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import GridColumn, dot_of, grid, numbers, sites_of
from offsite.evaluation.tables.reading import Record
from offsite.evaluation.wording import NO_INTERVAL, change, interval, listed, number

_KINDS = {
    "covariate": "Images look different",
    "prevalence": "Case mix differs",
    "performance": "Performance differs",
}
_STATISTICS = ("mmd2", "prior_distance", "auroc_change")
_ALARMS = {"covariate": "images", "prevalence": "case_mix", "performance": "performance"}
_WITHOUT_LABELS = "prior_distance_em"
_LEAST_RATIO = 0.1  # of chance: an axis of multiples is logarithmic
_CAPTION = (
    "Left: distance of the site's images from the reference, as a multiple of what chance gives "
    "(1 and less: none). Middle: distance between the class shares; the tick is what chance gives. "
    "Right: change of the AUROC. Filled squares are held-out sites; lines are intervals."
)


def section(findings: Findings, table: pd.DataFrame) -> Section | None:
    """Three questions for each site: other images, other case mix, other performance."""
    by_kind = {kind: sites_of(findings, table[table["kind"] == kind]) for kind in _KINDS}
    if not any(by_kind.values()):
        return None
    return Section(
        anchor="shift",
        title="How the sites differ",
        lead=(
            "A site can differ in how its images look, in its mix of cases, or in how well the "
            "model does there. The first need not lead to the last, and the last can come without "
            "the first.",
        ),
        tables=(_table(findings, table),),
        figures=_figures(by_kind),
        notes=(
            "Held-out sites are compared with the test rows of the training sites; a training "
            "site with the other training sites. What is said of a site is corrected for the number "
            "of questions on this page. "
            f"{_case_mix(by_kind['prevalence'])}",
        ),
    )


def _case_mix(rows: list[Record]) -> str:
    """Where the case mix of the sites comes from: labels, or what the model says."""
    guessed = [row["site"] for row in rows if row["statistic"] == _WITHOUT_LABELS]
    if not guessed:
        return "The case mix is counted from the labels."
    where = "" if len(guessed) == len(rows) else f" at {listed(guessed)}; elsewhere it is counted"
    return f"The case mix is estimated from the model's outputs, without labels{where}."


def _table(findings: Findings, table: pd.DataFrame) -> Table:
    columns = [
        GridColumn(
            column=Column(words, numeric=False, about=metric),
            rows=table[table["kind"] == kind],
            alarm=_ALARMS[kind],
            cell=_performance if kind == "performance" else _tested,
        )
        for (kind, words), metric in zip(_KINDS.items(), _STATISTICS, strict=True)
    ]
    return grid(findings, columns, "Does the site differ?", source="shift")


def _tested(row: Record, raised: bool) -> Cell:
    p = row["p_value"]
    note = "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    words, kind = ("yes", "caution") if raised else ("not beyond chance", "")
    return Cell(words, note=note, kind=kind)


def _performance(row: Record, raised: bool) -> Cell:
    value, low, high = numbers(row)
    words = "not known" if low is None else "lower" if raised else "not lower beyond chance"
    bounds = interval(low, high) or NO_INTERVAL
    return Cell(
        text=words, note=f"AUROC {change(value)} ({bounds})", kind="caution" if raised else ""
    )


def _figures(by_kind: dict[str, list[Record]]) -> tuple[Figure, ...]:
    covariate = by_kind["covariate"]
    if not covariate:
        return ()
    panels = [
        Panel(
            title="Images (multiple of chance)",
            dots=[_ratio(row) for row in covariate],
            mark=1.0,
            log=True,
        )
    ]
    for kind, title in (("prevalence", "Case mix"), ("performance", "AUROC change")):
        lookup = {(row["site"], row["site_role"]): row for row in by_kind[kind]}
        nothing = {"value": None, "low": None, "high": None, "null_high": None}
        rows = [
            lookup.get((row["site"], row["site_role"]), row | nothing | {"reason": "not measured"})
            for row in covariate
        ]
        dots = [dot_of(row, lambda told: number(told["value"])) for row in rows]
        marks = tuple(row["null_high"] for row in rows)
        panels.append(
            Panel(
                title=title,
                dots=dots,
                mark=0.0 if kind == "performance" else None,
                marks=marks if kind == "prevalence" else (),
            )
        )
    return (dot_panels(panels, "How each site differs", "shift", _CAPTION),)


def _ratio(row: Record) -> Dot:
    """The value as a multiple of what chance gives."""
    value, chance = row["value"], row["null_high"]
    known = value is not None and chance is not None and chance > 0
    ratio = max(value / chance, _LEAST_RATIO) if known else None
    alone = row | {"value": ratio, "low": None, "high": None}
    return dot_of(alone, lambda told: f"{number(told['value'], 1)} times chance")
