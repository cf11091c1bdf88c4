"""The summary in words, the worst site first: generated from the tables, never more than they say."""

from dataclasses import replace

from offsite.evaluation.report.content import Point, Section
from offsite.evaluation.report.findings import FEW_PATIENTS, Findings, SiteEstimate
from offsite.evaluation.wording import ROLES, counted, estimate, interval, listed, number, reason

_GROUPS = {"training": "Training sites", "held_out": "Held-out sites"}


def section(findings: Findings, points: tuple[Point, ...], leads: tuple[str, ...] = ()) -> Section:
    """The summary: the worst site, the groups of sites, then the findings of other parts.

    Parameters
    ----------
    findings : Findings
        The per-site table.
    points : tuple of Point
        What the page's other sections contribute.
    leads : tuple of str
        What stands before the sentence on the primary metric.
    """
    of_sites = [
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


def _worst(findings: Findings, *, first: bool) -> str:
    defined = _defined(findings, findings.sites())
    if not defined:
        return "No metric is defined at any site: the page can only say what is missing."
    firm = [row for row in defined if not row.few] or defined
    worst, best = firm[0], firm[-1]
    sentence = (
        f"At the weakest site, {_at(worst)}, {findings.metric.label} was {_value(findings, worst)}."
        if first
        else f"At the weakest by {findings.metric.label}, {_at(worst)}, it was "
        f"{_value(findings, worst)}."
    )
    if len(firm) == 1:
        only = "a value" if worst.few else "enough patients to judge"
        sentence = (
            f"At {_at(worst)}, the only site with {only}, "
            f"{findings.metric.label} was {_value(findings, worst)}."
        )
    if number(defined[0].value) != number(worst.value):
        sentence += (
            f" {defined[0].site} is lower still ({number(defined[0].value)}), on too few patients "
            "to judge."
        )
    if len(firm) == 1:
        return sentence
    return f"{sentence} At the strongest, {_at(best)}, it was {_value(findings, best)}."


def _defined(findings: Findings, sites: list[str]) -> list[SiteEstimate]:
    rows = [findings.at(site, findings.primary) for site in sites]
    return [row for row in rows if row.value is not None]


def _at(row: SiteEstimate) -> str:
    return f"{row.site} ({ROLES.get(row.role, 'site')}, {_size(row)})"


def _value(findings: Findings, row: SiteEstimate) -> str:
    return estimate(row.value, row.low, row.high, findings.confidence)


def _group(findings: Findings, role: str) -> Point:
    sites = findings.sites(role)
    defined = _defined(findings, sites)
    subject = _GROUPS.get(role, "Sites")
    told = " (never trained on)" if role == "held_out" else ""
    pooled = findings.summary("_pooled", role, findings.primary)
    sentence = f"{counted(len(sites), 'site')}{told}"
    if pooled is not None and pooled.value is not None:
        bounds = _value(findings, pooled)
        sentence += f"; pooled {findings.metric.label} {bounds}"
    if len(defined) > 1:
        low, high = defined[0], defined[-1]
        if number(low.value) == number(high.value):
            return Point(subject=subject, sentence=f"{sentence}; {number(low.value)} at each.")
        sentence += (
            f"; from {number(low.value)} at {low.site} to {number(high.value)} at {high.site}"
        )
        gap = findings.summary("_gap", role, findings.primary)
        bounds = interval(gap.low, gap.high) if gap else ""
        if gap is not None and bounds:
            sentence += f", a gap of {number(gap.value)} ({bounds})"
    return Point(subject=subject, sentence=f"{sentence}.")


def _too_few(findings: Findings) -> list[Point]:
    sizes = [findings.size(site) for site in findings.sites()]
    few = [row for row in sizes if row.n and row.few]
    if not few:
        return []
    if len(few) == 1:
        told = f"has {_size(few[0])}, fewer than {FEW_PATIENTS} patients: its numbers are shown"
        subject = few[0].site
    else:
        named = listed([f"{row.site} ({_size(row)})" for row in few])
        told = f"Fewer than {FEW_PATIENTS} at {named}: their numbers are shown"
        subject = "Patients"
    sentence = f"{told}, but no conclusion should rest on them."
    return [Point(subject=subject, sentence=sentence, caution=True)]


def _fewer_classes(findings: Findings) -> list[Point]:
    rows = [findings.at(site, findings.primary) for site in findings.sites()]
    partial = [
        f"{row.site} ({row.classes_defined} of {row.classes})"
        for row in rows
        if row.value is not None and (row.classes_defined or 0) < (row.classes or 0)
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
        if row.value is None:
            missing.setdefault(row.reason, []).append(site)
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


def _size(row: SiteEstimate) -> str:
    images = counted(row.n, "image")
    if row.n_patients is None:
        return images
    return f"{images} of {counted(row.n_patients, 'patient')}"
