"""A threshold chosen on the training sites, and what it yields at each site."""

import pandas as pd

from offsite.evaluation.alarms import usable_rules
from offsite.evaluation.figures.curves import net_benefit_figure
from offsite.evaluation.figures.dots import dot_strip
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.report.content import Section, Table
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import (
    dot_of,
    grid,
    in_order,
    metric_columns,
    numbers,
    sites_of,
)
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import level, noted, number

_RULE_WORDS = {
    "confident": "chosen so that even the lower confidence bound reaches the target",
    "point": "chosen as the highest that reaches the target; model packages ship it and the gate "
    "judges it",
    "stated": "as stated in the settings",
}
_CHOSEN = (
    "A threshold is chosen once, on validation rows of the training sites, and then used "
    "everywhere. What it promised is not what every site gets."
)
_CROSSED = (
    "The threshold that ships is chosen on the answers of all folds. Here the patients of a fold are "
    "called by the one that the other folds choose, and those of held-out sites by the one that ships. "
    "What it promised is not what every site gets."
)
_STATED = (
    "No threshold could be chosen, as there are no positive validation rows of training sites: the "
    "one stated in the settings is used everywhere. It promises no sensitivity."
)
_COLUMNS = ("sensitivity", "specificity", "ppv", "npv", "flag_rate", "needed_threshold")


def section(findings: Findings, table: pd.DataFrame) -> Section:
    """The carried threshold, site by site, and the decision curves."""
    figures, tables, any_chosen = [], [], False
    for task in dict.fromkeys(table["task"]):
        of_task = table[table["task"] == task]
        any_chosen = any_chosen or usable_rules(of_task)[0] != "stated"
        for rule in usable_rules(of_task):
            rows = of_task[of_task["rule"] == rule]
            main = rule == usable_rules(of_task)[0]
            tables.append(_table(findings, task, rule, rows, folded=not main))
            if main:
                figures.append(_strip(findings, task, rows))
    curves = findings.evaluated.table("net_benefit")
    if curves is not None:
        for number_of, task in enumerate(dict.fromkeys(curves["task"])):
            rows = in_order(findings, curves[curves["task"] == task])
            figures.append(net_benefit_figure(rows, task, f"net-benefit-{number_of}"))
    return Section(
        anchor="operating",
        title="A threshold carried to each site",
        lead=((_CROSSED if findings.folds else _CHOSEN) if any_chosen else _STATED,),
        tables=tuple(tables),
        figures=tuple(figures),
        notes=(
            "PPV and NPV hold at the site's own prevalence. The threshold needed is the one that "
            "would reach the wanted sensitivity at that site.",
        ),
    )


def _table(findings: Findings, task: str, rule: str, rows: pd.DataFrame, *, folded: bool) -> Table:
    first = records(rows.head(1))[0]
    threshold, target = first["threshold"], level(first["target_sensitivity"])
    caption = (
        f"{task}: threshold {number(threshold, 3)}, {_RULE_WORDS.get(rule, rule)} "
        f"({target} sensitivity wanted)"
    )

    asked = {} if folded else {"sensitivity": "missed", "specificity": "over_referral"}
    return grid(
        findings,
        metric_columns(rows, _COLUMNS, alarms=asked, task=task),
        caption,
        source="operating_points",
        folded=caption if folded else "",
    )


def _strip(findings: Findings, task: str, rows: pd.DataFrame) -> Figure:
    shown = sites_of(findings, rows[rows["metric"] == "sensitivity"])
    return dot_strip(
        [dot_of(row, lambda told: noted(*numbers(told))) for row in shown],
        f"Sensitivity for {task} at the carried threshold",
        f"sensitivity-{task}",
        mark=float(rows["target_sensitivity"].iloc[0]),
        mark_words="wanted",
        limits=(0.0, 1.0),
    )
