"""Whether a probability of 80 % comes true in 80 of 100, at each site."""

import pandas as pd

from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.figures.reliability import reliability_figure
from offsite.evaluation.report.content import Column, Point, Section
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import GridColumn, Record, grid, in_order, sites_of
from offsite.evaluation.tables.reading import Evaluated
from offsite.evaluation.wording import estimate, listed, present

_WORDS = {
    "none": "as the model gives them",
    "temperature": "after temperature scaling",
    "vector": "after vector scaling",
    "platt": "after Platt scaling",
    "site_platt": "after Platt scaling by site",
}
TOP = "_top"


def section(evaluated: Evaluated, findings: Findings) -> Section | None:
    """Calibration of the first task (or of the top class), and what recalibration changes."""
    table = evaluated.table("calibration")
    if table is None:
        return None
    tasks = list(dict.fromkeys(table["task"]))
    tables = []
    for task in tasks:
        of_task = table[table["task"] == task]
        for calibrator in dict.fromkeys(of_task["calibrator"]):
            first = task == tasks[0] and calibrator == of_task["calibrator"].iloc[0]
            caption = f"Probability of {_named(task)}, {_WORDS.get(calibrator, calibrator)}"
            columns = _columns(of_task[of_task["calibrator"] == calibrator])
            tables.append(grid(findings, columns, caption, folded="" if first else caption))
    curves = evaluated.table("reliability")
    figures: tuple[Figure, ...] = ()
    if curves is not None:
        rows = curves[(curves["task"] == tasks[0]) & (curves["calibrator"] == "none")]
        figures = (reliability_figure(in_order(findings, rows), _named(tasks[0]), "reliability"),)
    return Section(
        anchor="calibration",
        title="Calibration",
        lead=(
            "A model is calibrated where its probabilities come true as often as they say. Few "
            "images make even a perfect model look uncalibrated: under each error stands what "
            "noise alone could give.",
        ),
        tables=tuple(tables),
        figures=figures,
        notes=(
            "Slope 1 and intercept 0 are perfect. A slope under 1: too sure of itself. An "
            "intercept under 0: probabilities too high for this site, often its prevalence.",
        ),
    )


def points(evaluated: Evaluated, findings: Findings) -> list[Point]:
    """The sites where probabilities are too extreme, or wrong as a whole, beyond chance."""
    table = evaluated.table("calibration")
    if table is None:
        return []
    task = table["task"].iloc[0]
    rows = table[(table["task"] == task) & (table["calibrator"] == "none")]
    slopes = [
        row
        for row in sites_of(findings, rows[rows["metric"] == "slope"])
        if _too_sure(row) and findings.firm(row)
    ]
    at_large = _at_large(findings, task, rows)
    if not slopes:
        return at_large
    told = [f"{row['site']} (slope {_estimate(row, findings.confidence)})" for row in slopes]
    against = [row["site"] for row in slopes if (present(row["high"]) or 0.0) < 0]
    wrong = f" They point the wrong way at {listed(against)}." if against else ""
    return [
        Point(
            subject="Calibration",
            sentence=f"Probabilities of {_named(task)} are too extreme at {listed(told)}.{wrong}",
            caution=True,
        ),
        *at_large,
    ]


def _at_large(findings: Findings, task: str, rows: pd.DataFrame) -> list[Point]:
    """The sites where probabilities are too high or too low as a whole, beyond chance."""
    high, low = [], []
    for row in sites_of(findings, rows[rows["metric"] == "intercept"]):
        above, below = present(row["high"]), present(row["low"])
        if above is None or below is None or not findings.firm(row):
            continue
        told = f"{row['site']} (intercept {_estimate(row, findings.confidence)})"
        if above < 0:
            high.append(told)
        elif below > 0:
            low.append(told)
    sides = [
        f"too {word} at {listed(told)}" for word, told in (("high", high), ("low", low)) if told
    ]
    if not sides:
        return []
    sentence = f"As a whole, probabilities of {_named(task)} are {', and '.join(sides)}."
    return [Point(subject="Calibration in the large", sentence=sentence, caution=True)]


def _estimate(row: Record, confidence: float) -> str:
    value, low, high = (present(row[name]) for name in ("value", "low", "high"))
    return estimate(value, low, high, confidence)


def _named(task: str) -> str:
    return "the most probable class" if task == TOP else task


def _too_sure(row: Record) -> bool:
    high = present(row.get("high"))
    return high is not None and high < 1


def _columns(rows: pd.DataFrame) -> list[GridColumn]:
    def noisy(row: Record) -> bool:
        return (present(row.get("excess")) or 0) > 0

    heads = {
        "ece": ("Calibration error", {"note": "null_high", "caution": noisy}),
        "slope": ("Slope", {"caution": _too_sure}),
        "intercept": ("Intercept", {}),
        "brier": ("Brier score", {}),
    }
    return [
        GridColumn(
            column=Column(heading=heading),
            rows=rows[rows["metric"] == metric],
            **options,  # type: ignore[arg-type]
        )
        for metric, (heading, options) in heads.items()
        if (rows["metric"] == metric).any()
    ]
