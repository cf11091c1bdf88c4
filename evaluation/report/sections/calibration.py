"""Whether a probability of 80 % comes true in 80 of 100, at each site."""

from collections.abc import Callable

import pandas as pd

from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.figures.reliability import reliability_figure
from offsite.evaluation.metrics.names import described
from offsite.evaluation.report.content import Column, Point, Section
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import GridColumn, Record, bounded, grid, in_order, sites_of
from offsite.evaluation.tables.reading import Evaluated
from offsite.evaluation.wording import listed, present

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
            rows = of_task[of_task["calibrator"] == calibrator]
            columns = _columns(findings, rows, asked=task if first else "")
            tables.append(
                grid(
                    findings,
                    columns,
                    caption,
                    source="calibration",
                    folded="" if first else caption,
                )
            )
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
    task = str(table["task"].iloc[0])
    rows = table[(table["task"] == task) & (table["calibrator"] == "none")]

    def accused(alarm: str, metric: str) -> list[Record]:
        of_metric = sites_of(findings, rows[rows["metric"] == metric])
        return [row for row in of_metric if findings.raised(alarm, row, task)]

    found = []
    if slopes := accused("too_sure", "slope"):
        told = [f"{row['site']} (slope {bounded(row, findings.confidence)})" for row in slopes]
        against = [row["site"] for row in slopes if (present(row["high"]) or 0.0) < 0]
        wrong = f" They point the wrong way at {listed(against)}." if against else ""
        sentence = f"Probabilities of {_named(task)} are too extreme at {listed(told)}.{wrong}"
        found.append(Point(subject="Calibration", sentence=sentence, caution=True))
    if offsets := accused("at_large", "intercept"):
        sides: dict[str, list[str]] = {}
        for row in offsets:
            side = "high" if (present(row["value"]) or 0.0) < 0 else "low"
            told_of = f"{row['site']} (intercept {bounded(row, findings.confidence)})"
            sides.setdefault(side, []).append(told_of)
        words = ", and ".join(f"too {side} at {listed(told)}" for side, told in sides.items())
        sentence = f"As a whole, probabilities of {_named(task)} are {words}."
        found.append(Point(subject="Calibration in the large", sentence=sentence, caution=True))
    return found


def _named(task: str) -> str:
    return "the most probable class" if task == TOP else task


def _columns(findings: Findings, rows: pd.DataFrame, asked: str = "") -> list[GridColumn]:
    """Error, slope, intercept and Brier score; marked where the page asked about this task."""
    alarms = {"slope": "too_sure", "intercept": "at_large"}

    def marked(metric: str) -> Callable[[Record], bool] | None:
        if metric not in alarms or not asked:
            return None
        return lambda row: findings.raised(alarms[metric], row, asked)

    return [
        GridColumn(
            column=Column(heading=described(metric).short, about=metric),
            rows=rows[rows["metric"] == metric],
            note="null_high" if metric == "ece" else "",
            caution=marked(metric),
        )
        for metric in ("ece", "slope", "intercept", "brier")
        if (rows["metric"] == metric).any()
    ]
