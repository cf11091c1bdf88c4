"""The worst and the best site, as measured and drawn towards the others.

Of many sites the worst and the best are so partly by chance: their measured values hold their truth
less often than their intervals say. The estimate of a random-effects model does not have that fault.
"""

from offsite.evaluation.report.content import Point, Table, listing
from offsite.evaluation.report.findings import Findings, few
from offsite.evaluation.report.grids import numbers, value_cell
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.wording import estimate


def table(findings: Findings) -> tuple[Table, ...]:
    """Both estimates of the worst and of the best site; nothing where sites cannot be combined."""
    pairs = _pairs(findings)
    if not pairs:
        return ()
    rows = (
        (f"{word}: {row['site']}", value_cell(row), value_cell(drawn)) for word, row, drawn in pairs
    )
    caption = f"The extremes of {findings.metric.label}, without the luck of being extreme"
    told = ("As measured", "Drawn towards the others")
    return (listing(caption, ("Site",), told, rows, source="shrunken"),)


def points(findings: Findings) -> list[Point]:
    """What the worst and the best site are likely to be, for the summary."""
    pairs = _pairs(findings)
    if not pairs:
        return []
    told = " and ".join(
        f"{row['site']} {estimate(*numbers(drawn), findings.confidence)}" for _, row, drawn in pairs
    )
    sentence = (
        "The worst and the best of several are so partly by chance. Drawn towards the others, "
        f"{findings.metric.label} is {told}."
    )
    return [Point(subject="Worst and best", sentence=sentence)]


def _pairs(findings: Findings) -> list[tuple[str, Record, Record]]:
    """(word, as measured, drawn towards the others) of the worst and the best firm site."""
    shrunken = findings.evaluated.table("shrunken")
    if shrunken is None:
        return []
    role = "all" if len(findings.roles) > 1 else next(iter(findings.roles), "all")
    wanted = (shrunken["metric"] == findings.primary) & (shrunken["site_role"] == role)
    by_site = {
        row["site"]: row | {"value": row["shrunken"]}
        for row in records(shrunken[wanted & shrunken["shrunken"].notna()])
    }
    firm = [
        row
        for site in findings.sites()
        if site in by_site and not few(row := findings.at(site, findings.primary))
    ]
    # The order of the page is by group; the worst is the worst of all.
    firm.sort(key=lambda row: row["value"] or 0.0, reverse=findings.metric.higher is False)
    if len(firm) < 2:
        return []
    return [
        ("Worst", firm[0], by_site[firm[0]["site"]]),
        ("Best", firm[-1], by_site[firm[-1]["site"]]),
    ]
