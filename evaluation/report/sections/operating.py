"""A threshold chosen on the training sites, and what it yields at each site."""

from collections.abc import Callable

import pandas as pd

from offsite.evaluation.alarms import usable_rules
from offsite.evaluation.figures.decision import net_benefit_figure
from offsite.evaluation.figures.dots import dot_strip
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.metrics.names import described
from offsite.evaluation.operating_points.table import CHOSEN
from offsite.evaluation.report.content import Column, Point, Section, Table
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import (
    GridColumn,
    Record,
    bounded,
    dot_of,
    grid,
    in_order,
    sites_of,
)
from offsite.evaluation.tables.reading import Evaluated, records
from offsite.evaluation.wording import level, listed, number, present

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
_STATED = (
    "No threshold could be chosen, as there are no positive validation rows of training sites: the "
    "one stated in the settings is used everywhere. It promises no sensitivity."
)
_COLUMNS = ("sensitivity", "specificity", "ppv", "npv", "flag_rate", "needed_threshold")


def section(evaluated: Evaluated, findings: Findings) -> Section | None:
    """The carried threshold, site by site, and the decision curves."""
    table = evaluated.table("operating_points")
    if table is None:
        return None
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
    curves = evaluated.table("net_benefit")
    if curves is not None:
        for number_of, task in enumerate(dict.fromkeys(curves["task"])):
            rows = in_order(findings, curves[curves["task"] == task])
            figures.append(net_benefit_figure(rows, task, f"net-benefit-{number_of}"))
    return Section(
        anchor="operating",
        title="A threshold carried to each site",
        lead=(_CHOSEN if any_chosen else _STATED,),
        tables=tuple(tables),
        figures=tuple(figures),
        notes=(
            "PPV and NPV hold at the site's own prevalence. The threshold needed is the one that "
            "would reach the wanted sensitivity at that site.",
        ),
    )


def points(evaluated: Evaluated, findings: Findings) -> list[Point]:
    """The sites where the threshold misses more than was promised, beyond chance."""
    table = evaluated.table("operating_points")
    if table is None:
        return []
    sentences = []
    for task in dict.fromkeys(table["task"]):
        of_task = table[table["task"] == task]
        rule = usable_rules(of_task)[0]
        rows = of_task[of_task["rule"] == rule]
        gaps = sites_of(findings, rows[rows["metric"] == "transfer_gap"])
        missed = [str(r["site"]) for r in gaps if findings.raised("missed", r, str(task))]
        if missed:
            sensitivities = {
                str(row["site"]): row for row in records(rows[rows["metric"] == "sensitivity"])
            }
            told = [f"{site} ({bounded(sensitivities[site])})" for site in missed]
            target = level(present(rows["target_sensitivity"].iloc[0]))
            sentence = (
                f"The one for {target} sensitivity ({task}) finds fewer than promised at "
                f"{listed(told)}."
            )
            if rule == "stated":
                sentence = (
                    f"The stated one finds fewer than the wanted {target} ({task}) at "
                    f"{listed(told)}."
                )
            sentences.append(Point(subject="Threshold", sentence=sentence, caution=True))
        sentences += _over_referral(findings, task, rows)
    return sentences


def _over_referral(findings: Findings, task: str, rows: pd.DataFrame) -> list[Point]:
    """The sites where the threshold calls more of the healthy positive than where it was chosen."""
    specificity = rows[rows["metric"] == "specificity"]
    at_training_sites = specificity[specificity["site"] == CHOSEN]
    promised = None if at_training_sites.empty else present(at_training_sites["value"].iloc[0])
    if promised is None:
        return []
    worse = [
        row
        for row in sites_of(findings, specificity)
        if findings.raised("over_referral", row, task)
    ]
    if not worse:
        return []
    told = listed([f"{row['site']} ({bounded(row)})" for row in worse])
    sentence = (
        f"It refers more of those without {task} than where it was chosen (specificity "
        f"{number(promised)}): specificity at {told}."
    )
    return [Point(subject="Over-referral", sentence=sentence, caution=True)]


def _table(findings: Findings, task: str, rule: str, rows: pd.DataFrame, *, folded: bool) -> Table:
    threshold = present(rows["threshold"].iloc[0])
    target = level(present(rows["target_sensitivity"].iloc[0]))
    caption = (
        f"{task}: threshold {number(threshold, 3)}, {_RULE_WORDS.get(rule, rule)} "
        f"({target} sensitivity wanted)"
    )

    def marked(metric: str) -> Callable[[Record], bool] | None:
        alarm = {"sensitivity": "missed", "specificity": "over_referral"}.get(metric, "")
        return (lambda row: findings.raised(alarm, row, task)) if alarm and not folded else None

    columns = [
        GridColumn(
            column=Column(heading=described(metric).short, about=metric),
            rows=rows[rows["metric"] == metric],
            caution=marked(metric),
        )
        for metric in _COLUMNS
        if (rows["metric"] == metric).any()
    ]
    return grid(
        findings, columns, caption, source="operating_points", folded=caption if folded else ""
    )


def _strip(findings: Findings, task: str, rows: pd.DataFrame) -> Figure:
    shown = sites_of(findings, rows[rows["metric"] == "sensitivity"])
    dots = [dot_of(row, bounded) for row in shown]
    target = present(rows["target_sensitivity"].iloc[0])
    return dot_strip(
        dots,
        f"Sensitivity for {task} at the carried threshold",
        f"sensitivity-{task}",
        mark=target,
        mark_words="wanted",
        limits=(0.0, 1.0),
    )
