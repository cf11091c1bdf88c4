"""What a page says first: a model that answers the same for everyone, and what ships."""

import pandas as pd

from offsite.evaluation.alarms import only_answer, usable_rules
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import Record, numbers, sites_of
from offsite.evaluation.wording import ROLES, counted, estimate, listed, present

_POORLY = 0.5
_NOT_ENOUGH = ", on too few patients to judge"


def threshold_named(rule: str) -> str:
    """A threshold in a sentence."""
    words: dict[str, str] = {
        PACKAGED: "the threshold that ships with the model",
        "stated": "the stated threshold",
    }
    return words.get(rule, "the more careful threshold")


def leads(findings: Findings) -> tuple[str, ...]:
    """The first sentences, where there is something that no average may hide."""
    return (*_constant(findings), *_at_threshold(findings))


def _constant(findings: Findings) -> list[str]:
    """The model, or a site at which the model, gives one answer to images of several classes."""
    table = findings.evaluated.table("confusion")
    if table is None:
        return []
    whole = table[(table["site"] == "_pooled") & (table["site_role"] == "all")]
    if (answer := only_answer(whole)) is not None:
        return [
            "The model answers the same for everyone: by the most probable class it calls "
            f"{_every(int(whole['count'].sum()))} “{answer}”."
        ]
    asked = findings.alarms[findings.alarms["alarm"] == "one_answer"]
    sites: dict[str, list[str]] = {}
    for row in sites_of(findings, asked[asked["raised"].astype(bool)]):
        sites.setdefault(str(row["task"]), []).append(str(row["site"]))
    return [
        f"At {listed(names)} the model answers the same for everyone: by the most "
        f"probable class it calls every image “{answer}”."
        for answer, names in sites.items()
    ]


def _every(n: int) -> str:
    return f"every one of the {counted(n, 'labelled test image')}"


def _at_threshold(findings: Findings) -> list[str]:
    """Sensitivity and specificity of each task at its weakest site."""
    table = findings.evaluated.table("operating_points")
    if table is None:
        return []
    sentences = []
    for task in dict.fromkeys(table["task"]):
        rows = table[table["task"] == task]
        rule = usable_rules(rows)[0]
        sentence = _weakest(findings, str(task), rule, rows[rows["rule"] == rule])
        if sentence:
            sentences.append(sentence)
    return sentences


def _weakest(findings: Findings, task: str, rule: str, rows: pd.DataFrame) -> str:
    by_metric = {
        metric: {
            str(row["site"]): row
            for row in sites_of(findings, rows[rows["metric"] == metric])
            if present(row["value"]) is not None
        }
        for metric in ("sensitivity", "specificity", "flag_rate")
    }
    both = [site for site in by_metric["sensitivity"] if site in by_metric["specificity"]]
    enough = [site for site in both if not findings.size(site).few]
    firm = enough or both
    if not firm:
        return ""

    def together(site: str) -> float:
        values = (
            present(by_metric[name][site]["value"]) for name in ("sensitivity", "specificity")
        )
        return sum(value or 0.0 for value in values)

    site = min(firm, key=together)
    where = "At the weakest site" if len(firm) > 1 else "At the only site with both"
    if len(enough) == 1:
        where = "At the only site with enough patients"
    told = [
        f"{name} {estimate(*numbers(by_metric[name][site]), findings.confidence)}"
        for name in ("sensitivity", "specificity")
    ]
    meaning = _meaning(findings, by_metric, site, task)
    return (
        f"{where}, {site} ({ROLES.get(findings.role(site), 'site')}), {threshold_named(rule)} had "
        f"{told[0]} and {told[1]} for {task}{meaning if enough else _NOT_ENOUGH}."
    )


def _meaning(
    findings: Findings, by_metric: dict[str, dict[str, Record]], site: str, task: str
) -> str:
    """What the pair of numbers means for patients, where it is plain."""
    flagged = present(by_metric["flag_rate"].get(site, {}).get("value"))
    if flagged == 1:
        return ": it calls everyone positive"
    if flagged == 0:
        return ": it calls everyone negative"
    missed = present(by_metric["sensitivity"][site]["high"])
    alarmed = present(by_metric["specificity"][site]["high"])
    if missed is not None and missed < _POORLY:
        return ": it misses most of the ill"
    if alarmed is not None and alarmed < _POORLY:
        return ": it refers most of the healthy"
    if findings.raised("missed", by_metric["sensitivity"][site], task):
        return ": it misses more of the ill than was promised"
    if findings.raised("over_referral", by_metric["specificity"][site], task):
        return ": it refers more of the healthy than where it was chosen"
    return ""
