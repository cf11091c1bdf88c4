"""What the summary says against sites: a sentence for each alarm, its sites in the page's order."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from offsite.evaluation.report.content import Point
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import numbers, sites_of
from offsite.evaluation.tables.reading import Record
from offsite.evaluation.wording import change, estimate, level, listed, number, percent


@dataclass(frozen=True)
class _Said:
    """How an alarm is told.

    Attributes
    ----------
    subject, about : str
        What stands set apart, and the section that has the numbers.
    sentence : str
        With ``{sites}`` and, where it is of one, ``{task}`` and ``{against}``.
    seen : function or None
        What is told of a site, in brackets.
    against : function
        How the number is written that was tested against.
    caution : bool
        Whether it should stop someone: other images need not be worse ones.
    """

    subject: str
    about: str
    sentence: str
    seen: Callable[[Record], str] | None = lambda row: estimate(*numbers(row))
    against: Callable[[float | None], str] = number
    caution: bool = True


def _slope(row: Record) -> str:
    wrong = (row["high"] or 0.0) < 0
    return f"slope {estimate(*numbers(row))}{': the wrong way round' if wrong else ''}"


def _intercept(row: Record) -> str:
    side = "high" if (row["value"] or 0.0) < 0 else "low"
    return f"too {side}: intercept {estimate(*numbers(row))}"


_SAID = {
    "missed": _Said(
        "Threshold",
        "operating",
        "Sensitivity for {task} is under the wanted {against} at {sites}.",
        against=level,
    ),
    "over_referral": _Said(
        "Over-referral",
        "operating",
        "More of those without {task} are referred than where the threshold was chosen "
        "(specificity {against}): specificity at {sites}.",
    ),
    "too_sure": _Said(
        "Calibration", "calibration", "Probabilities of {task} are too extreme at {sites}.", _slope
    ),
    "at_large": _Said(
        "Calibration in the large",
        "calibration",
        "As a whole, probabilities of {task} are off at {sites}.",
        seen=_intercept,
    ),
    "images": _Said("Shift", "shift", "Images look different at {sites}.", None, caution=False),
    "case_mix": _Said("Case mix", "shift", "It differs at {sites}.", None, caution=False),
    "performance": _Said(
        "Performance",
        "shift",
        "It is lower, beyond chance, at {sites}.",
        lambda row: f"AUROC {change(row['value'])}",
    ),
    "foreign": _Said(
        "Foreign images",
        "foreign",
        "The detector flags more than twice the expected share at {sites}.",
        seen=lambda row: percent(row["value"]),
    ),
    "sets": _Said(
        "Prediction sets",
        "sets",
        "Promised to hold the truth in {against}; they do not at {sites}.",
        seen=lambda row: percent(row["value"]),
        against=level,
    ),
}
"""By alarm, in the order of the page; ``one_answer`` is what the page begins with."""


def points(findings: Findings) -> tuple[Point, ...]:
    """The findings of the summary, an alarm of one task each."""
    raised = findings.alarms[findings.alarms["raised"].astype(bool)]
    found = []
    for alarm, said in _SAID.items():
        for task, rows in raised[raised["alarm"] == alarm].groupby("task", sort=False):
            sites = sites_of(findings, rows)
            names = [f"{row['site']}{f' ({said.seen(row)})' if said.seen else ''}" for row in sites]
            against = said.against(sites[0]["against"])
            sentence = said.sentence.format(
                sites=listed(names), task=task_named(str(task)), against=against
            )
            point = Point(subject=said.subject, sentence=sentence, caution=said.caution)
            found.append(replace(point, about=said.about))
    return tuple(found)


def task_named(task: str) -> str:
    """A task in a sentence."""
    return "the most probable class" if task == "_top" else task
