"""The worst and the best site, as measured and drawn towards the others.

Of many sites the worst and the best are so partly by chance: their measured values hold their truth
less often than their intervals say. The estimate of a random-effects model does not have that fault.
"""

from offsite.evaluation.report.content import Cell, Point, Table, listing
from offsite.evaluation.report.findings import Findings, SiteEstimate
from offsite.evaluation.report.grids import Record
from offsite.evaluation.tables.reading import Evaluated, records
from offsite.evaluation.wording import estimate, interval, number, present


def table(evaluated: Evaluated, findings: Findings) -> tuple[Table, ...]:
    """Both estimates of the worst and of the best site; nothing where sites cannot be combined."""
    pairs = _pairs(evaluated, findings)
    if not pairs:
        return ()
    rows = (
        (
            f"{word}: {row.site}",
            Cell(text=number(row.value), note=interval(row.low, row.high) or "no interval"),
            Cell(text=number(_of(drawn, "shrunken")), note=_bounds(drawn)),
        )
        for word, row, drawn in pairs
    )
    caption = f"The extremes of {findings.metric.label}, without the luck of being extreme"
    told = ("As measured", "Drawn towards the others")
    return (listing(caption, ("Site",), told, rows, source="shrunken"),)


def points(evaluated: Evaluated, findings: Findings) -> list[Point]:
    """What the worst and the best site are likely to be, for the summary."""
    pairs = _pairs(evaluated, findings)
    if not pairs:
        return []
    told = " and ".join(
        f"{row.site} {estimate(_of(drawn, 'shrunken'), _of(drawn, 'low'), _of(drawn, 'high'), findings.confidence)}"
        for _, row, drawn in pairs
    )
    sentence = (
        "The worst and the best of several are so partly by chance. Drawn towards the others, "
        f"{findings.metric.label} is {told}."
    )
    return [Point(subject="Worst and best", sentence=sentence)]


def _pairs(evaluated: Evaluated, findings: Findings) -> list[tuple[str, SiteEstimate, Record]]:
    """(word, as measured, drawn towards the others) of the worst and the best firm site."""
    shrunken = evaluated.table("shrunken")
    if shrunken is None:
        return []
    role = "all" if len(findings.roles) > 1 else next(iter(findings.roles), "all")
    wanted = (shrunken["metric"] == findings.primary) & (shrunken["site_role"] == role)
    by_site = {
        str(row["site"]): row
        for row in records(shrunken[wanted])
        if present(row["shrunken"]) is not None
    }
    firm = [
        row
        for site in findings.sites()
        if site in by_site and not (row := findings.at(site, findings.primary)).few
    ]
    # The order of the page is by group; the worst is the worst of all.
    firm.sort(key=lambda row: row.value or 0.0, reverse=findings.metric.higher is False)
    if len(firm) < 2:
        return []
    return [
        ("Worst", firm[0], by_site[firm[0].site]),
        ("Best", firm[-1], by_site[firm[-1].site]),
    ]


def _of(row: Record, column: str) -> float | None:
    return present(row[column])


def _bounds(row: Record) -> str:
    return interval(_of(row, "low"), _of(row, "high")) or "no interval"
