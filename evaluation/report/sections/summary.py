"""The summary in words, the worst site first: generated from the tables, never more than they say."""

from dataclasses import replace

import pandas as pd

from offsite.evaluation.alarms import only_answer, usable_rules
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.report.content import Point, Section
from offsite.evaluation.report.findings import FEW_PATIENTS, Findings, few
from offsite.evaluation.report.grids import GROUPS, numbers, sites_of
from offsite.evaluation.tables.reading import Record
from offsite.evaluation.wording import ROLES, counted, estimate, interval, listed, number, reason

_POORLY = 0.5
_NOT_ENOUGH = ", on too few patients to judge"


def section(findings: Findings, points: tuple[Point, ...]) -> Section:
    """The summary: the worst site, the groups of sites, then the findings of other parts.

    Parameters
    ----------
    findings : Findings
        The per-site table.
    points : tuple of Point
        What the page's other sections contribute.
    """
    leads = _leads(findings)
    of_sites = [
        *_folds(findings),
        *(_group(findings, role) for role in findings.roles),
        *_too_few(findings),
        *_fewer_classes(findings),
        *_undefined(findings),
    ]
    return Section(
        anchor="summary",
        title="Summary",
        lead=(*leads, _worst(findings, first=not leads)),
        points=(*(replace(point, about="sites") for point in of_sites), *points),
    )


def _folds(findings: Findings) -> list[Point]:
    """Whose answers these are, where a cross-validation gave them."""
    if not findings.folds:
        return []
    others = "; those of held-out sites by the model that ships" * ("held_out" in findings.roles)
    sentence = (
        f"Each patient of a training site was answered by the one of {findings.folds} models that had not"
        f" seen the patient{others}. Where the page speaks of the threshold that ships, a fold's patients"
        " are called by the one that the same rule chooses on the other folds."
    )
    return [Point(subject="Cross-validation", sentence=sentence)]


def _worst(findings: Findings, *, first: bool) -> str:
    defined = _defined(findings, findings.sites())
    if not defined:
        return "No metric is defined at any site: the page can only say what is missing."
    firm = [row for row in defined if not few(row)] or defined
    worst, best = firm[0], firm[-1]
    sentence = (
        f"At the weakest site, {_at(worst)}, {findings.metric.label} was {_value(findings, worst)}."
        if first
        else f"At the weakest by {findings.metric.label}, {_at(worst)}, it was "
        f"{_value(findings, worst)}."
    )
    if len(firm) == 1:
        only = "a value" if few(worst) else "enough patients to judge"
        sentence = (
            f"At {_at(worst)}, the only site with {only}, "
            f"{findings.metric.label} was {_value(findings, worst)}."
        )
    if number(defined[0]["value"]) != number(worst["value"]):
        sentence += (
            f" {defined[0]['site']} is lower still ({number(defined[0]['value'])}), on too few "
            "patients to judge."
        )
    if len(firm) == 1:
        return sentence
    return f"{sentence} At the strongest, {_at(best)}, it was {_value(findings, best)}."


def _defined(findings: Findings, sites: list[str]) -> list[Record]:
    rows = [findings.at(site, findings.primary) for site in sites]
    return [row for row in rows if row["value"] is not None]


def _at(row: Record) -> str:
    return f"{row['site']} ({ROLES.get(row['site_role'], 'site')}, {_size(row)})"


def _value(findings: Findings, row: Record) -> str:
    return estimate(*numbers(row), findings.confidence)


def _group(findings: Findings, role: str) -> Point:
    sites = findings.sites(role)
    defined = _defined(findings, sites)
    subject = GROUPS.get(role, "Sites")
    told = " (never trained on)" if role == "held_out" else ""
    pooled = findings.summary("_pooled", role, findings.primary)
    sentence = f"{counted(len(sites), 'site')}{told}"
    if pooled is not None and pooled["value"] is not None:
        sentence += f"; pooled {findings.metric.label} {_value(findings, pooled)}"
    if len(defined) > 1:
        low, high = (number(row["value"]) for row in (defined[0], defined[-1]))
        if low == high:
            return Point(subject=subject, sentence=f"{sentence}; {low} at each.")
        sentence += f"; from {low} at {defined[0]['site']} to {high} at {defined[-1]['site']}"
        gap = findings.summary("_gap", role, findings.primary)
        bounds = interval(gap["low"], gap["high"]) if gap else ""
        if gap is not None and bounds:
            sentence += f", a gap of {number(gap['value'])} ({bounds})"
    return Point(subject=subject, sentence=f"{sentence}.")


def _too_few(findings: Findings) -> list[Point]:
    sizes = [findings.size(site) for site in findings.sites()]
    small = [row for row in sizes if row["n"] and few(row)]
    if not small:
        return []
    if len(small) == 1:
        told = f"has {_size(small[0])}, fewer than {FEW_PATIENTS} patients: its numbers are shown"
        subject = small[0]["site"]
    else:
        named = listed([f"{row['site']} ({_size(row)})" for row in small])
        told = f"Fewer than {FEW_PATIENTS} at {named}: their numbers are shown"
        subject = "Patients"
    sentence = f"{told}, but no conclusion should rest on them."
    return [Point(subject=subject, sentence=sentence, caution=True)]


def _fewer_classes(findings: Findings) -> list[Point]:
    partial = [
        f"{row['site']} ({row['classes_defined']} of {row['classes']})"
        for row in _defined(findings, findings.sites())
        if (row.get("classes_defined") or 0) < (row.get("classes") or 0)
    ]
    if not partial:
        return []
    sentence = (
        f"The {findings.metric.label} is a mean over fewer classes at {listed(partial)}: others "
        "have too few images there. Compare it with other sites with care."
    )
    return [Point(subject="Missing classes", sentence=sentence, caution=True)]


def _undefined(findings: Findings) -> list[Point]:
    missing: dict[str, list[str]] = {}
    for site in findings.sites():
        row = findings.at(site, findings.primary)
        if row["value"] is None:
            missing.setdefault(row["reason"], []).append(site)
    return [
        Point(
            subject=listed(sites),
            sentence=(
                f"{'has' if len(sites) == 1 else 'have'} no {findings.metric.label} "
                f"({reason(code)}): how the model does there is not known."
            ),
            caution=True,
        )
        for code, sites in missing.items()
    ]


def _size(row: Record) -> str:
    images = counted(row["n"], "image")
    if row["n_patients"] is None:
        return images
    return f"{images} of {counted(row['n_patients'], 'patient')}"


def _threshold_named(rule: str) -> str:
    """A threshold in a sentence."""
    words: dict[str, str] = {
        PACKAGED: "the threshold that ships with the model",
        "stated": "the stated threshold",
    }
    return words.get(rule, "the more careful threshold")


def _leads(findings: Findings) -> tuple[str, ...]:
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
            f"every one of the {counted(int(whole['count'].sum()), 'labelled test image')} “{answer}”."
        ]
    asked = findings.alarms[findings.alarms["alarm"] == "one_answer"]
    sites: dict[str, list[str]] = {}
    for row in sites_of(findings, asked[asked["raised"].astype(bool)]):
        sites.setdefault(row["task"], []).append(row["site"])
    return [
        f"At {listed(names)} the model answers the same for everyone: by the most "
        f"probable class it calls every image “{answer}”."
        for answer, names in sites.items()
    ]


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
            row["site"]: row
            for row in sites_of(findings, rows[rows["metric"] == metric])
            if row["value"] is not None
        }
        for metric in ("sensitivity", "specificity", "flag_rate")
    }
    both = [site for site in by_metric["sensitivity"] if site in by_metric["specificity"]]
    enough = [site for site in both if not few(findings.size(site))]
    firm = enough or both
    if not firm:
        return ""

    def together(site: str) -> float:
        return sum(by_metric[name][site]["value"] for name in ("sensitivity", "specificity"))

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
        f"{where}, {site} ({ROLES.get(findings.role(site), 'site')}), {_threshold_named(rule)} had "
        f"{told[0]} and {told[1]} for {task}{meaning if enough else _NOT_ENOUGH}."
    )


def _meaning(
    findings: Findings, by_metric: dict[str, dict[str, Record]], site: str, task: str
) -> str:
    """What the pair of numbers means for patients, where it is plain."""
    flagged = by_metric["flag_rate"].get(site, {}).get("value")
    if flagged == 1:
        return ": it calls everyone positive"
    if flagged == 0:
        return ": it calls everyone negative"
    missed, alarmed = (by_metric[name][site]["high"] for name in ("sensitivity", "specificity"))
    if missed is not None and missed < _POORLY:
        return ": it misses most of the ill"
    if alarmed is not None and alarmed < _POORLY:
        return ": it refers most of the healthy"
    if findings.raised("missed", by_metric["sensitivity"][site], task):
        return ": it misses more of the ill than was promised"
    if findings.raised("over_referral", by_metric["specificity"][site], task):
        return ": it refers more of the healthy than where it was chosen"
    return ""
