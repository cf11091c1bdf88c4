"""Whether a probability of 80 % comes true in 80 of 100, at each site."""

import pandas as pd

from offsite.evaluation.figures.curves import reliability_figure
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.report.accusations import task_named
from offsite.evaluation.report.content import Section
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import grid, in_order, metric_columns

_WORDS = {
    "none": "as the model gives them",
    "temperature": "after temperature scaling",
    "vector": "after vector scaling",
    "platt": "after Platt scaling",
    "site_platt": "after Platt scaling by site",
}
_COLUMNS = ("ece", "slope", "intercept", "brier")


def section(findings: Findings, table: pd.DataFrame) -> Section:
    """Calibration of the first task (or of the top class), and what recalibration changes."""
    tasks = list(dict.fromkeys(table["task"]))
    tables = []
    for task in tasks:
        of_task = table[table["task"] == task]
        for calibrator in dict.fromkeys(of_task["calibrator"]):
            first = task == tasks[0] and calibrator == of_task["calibrator"].iloc[0]
            caption = f"Probability of {task_named(task)}, {_WORDS.get(calibrator, calibrator)}"
            rows = of_task[of_task["calibrator"] == calibrator]
            asked = {"slope": "too_sure", "intercept": "at_large"} if first else {}
            columns = metric_columns(rows, _COLUMNS, alarms=asked, task=task)
            folded = "" if first else caption
            tables.append(grid(findings, columns, caption, source="calibration", folded=folded))
    curves = findings.evaluated.table("reliability")
    figures: tuple[Figure, ...] = ()
    if curves is not None:
        rows = curves[(curves["task"] == tasks[0]) & (curves["calibrator"] == "none")]
        figures = (
            reliability_figure(in_order(findings, rows), task_named(tasks[0]), "reliability"),
        )
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
