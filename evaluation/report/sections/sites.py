"""What the model does at each site: the table, the forest plot, the next hospital."""

from dataclasses import replace

from offsite.evaluation.figures.dots import Dot, dot_strip
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.metrics.names import base_name, described, headline_metrics
from offsite.evaluation.report.content import Cell, Column, Point, Section, Table, group, listing
from offsite.evaluation.report.findings import Findings, few
from offsite.evaluation.report.grids import GROUPS, NAMES, counts_cell, numbers, value_cell
from offsite.evaluation.report.sections import extremes
from offsite.evaluation.statistics.estimates import FEWEST_PATIENTS
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.wording import (
    counted,
    interval,
    level,
    no_interval,
    noted,
    number,
    reason,
)

_ENOUGH_HELD_OUT = 4
_FOREST = (
    "Lines are {}. Filled squares are held-out sites, open circles training sites, larger with more "
    "images; the diamond is all rows pooled, the bar what to expect at a new hospital."
)
_SUMMARIES = ("_pooled", "_worst", "_gap")


def section(findings: Findings) -> Section:
    """The first table of the page, its forest plot, and every metric behind a fold."""
    headline = headline_metrics(findings.metrics, findings.primary) if findings.metrics else []
    drawn = (
        "It is drawn over single images, as if each were of another patient: it is too narrow "
        "where patients have several."
        if findings.evaluated.over_images
        else "It is drawn over patients, so that two eyes or ten slides of one patient do not count "
        "as two or ten."
    )
    notes = [
        f"Under each value stands its {level(findings.confidence)} interval. {drawn} The worst site is a minimum over "
        "noisy values and so looks worse the smaller the sites are; its interval, and that of the gap, "
        "hold for whichever sites these truly are. Too few: there are fewer than "
        f"{FEWEST_PATIENTS} patients on a side that the value rests on, and an interval would say nothing."
    ]
    lower = [described(name).label for name in headline if described(name).higher is False]
    if lower:
        notes.append(f"Less is better for {', '.join(lower)}; more is better for the others.")
    return Section(
        anchor="sites",
        title="What it does at each site",
        tables=(
            _headline(findings, headline),
            *extremes.table(findings),
            _everything(findings),
        ),
        figures=(_forest(findings),) if findings.primary else (),
        notes=tuple(notes),
    )


def points(findings: Findings) -> list[Point]:
    """What to expect at a hospital that is in none of the tables."""
    row = _expected(findings, findings.primary)
    if row is None:
        return []
    low, high, sites = row["prediction_low"], row["prediction_high"], row["sites"] or 0
    if low is None or high is None:
        return [
            Point(
                subject="The next hospital",
                sentence=(
                    f"No range can be given: {counted(sites, 'site')} with a usable estimate, and "
                    "fewer than three say nothing of how hospitals differ."
                ),
                caution=True,
            )
        ]
    words, caveat = f"these {sites} sites", ""
    if row["site_role"] == "held_out":
        words = f"these {sites} held-out sites"
    elif findings.sites("training"):
        caveat = " Training sites are among them, so it is, if anything, too hopeful."
    sentence = (
        f"If it resembles {words}, expect {findings.metric.label} between {number(low)} and "
        f"{number(high)} ({level(findings.confidence)} prediction interval){_narrower(row)}.{caveat}"
    )
    return [Point(subject="The next hospital", sentence=sentence)]


def _narrower(row: Record) -> str:
    """Four of five hospitals, and what a prior on their differences makes of few sites."""
    usual, assumed = (
        interval(row.get(f"{name}_low"), row.get(f"{name}_high")) for name in ("usual", "assumed")
    )
    if not usual or not assumed:
        return ""
    return (
        f"; four of five hospitals, {usual}; if hospitals differ no more than is usual (a half-normal "
        f"prior, which so few sites cannot test), {assumed}"
    )


def _headline(findings: Findings, headline: list[str]) -> Table:
    groups = [
        group(
            GROUPS.get(role, "Sites"),
            [_row(findings, site, headline) for site in findings.sites(role)],
        )
        for role in findings.roles
    ]
    for role in [*findings.roles, "all"]:
        if len(findings.sites(None if role == "all" else role)) < 2:
            continue  # over one site there is nothing that its own row does not say
        rows = tuple(
            row for name in _SUMMARIES if (row := _summary_row(findings, name, role, headline))
        )
        if rows and (role != "all" or len(findings.roles) > 1):
            groups.append(group(f"Over {GROUPS.get(role, 'all sites').lower()}", rows))
    return listing(
        "Results by site, the worst first",
        ("Site",),
        (
            Column("Labelled images", note="patients"),
            *(_column(findings, name) for name in headline),
        ),
        groups=groups,
        source="per_site",
    )


def _column(findings: Findings, name: str) -> Column:
    shipped = any(metric == name for *_, metric in findings.shipped)
    note = "at the shipped threshold" if shipped else ""
    return Column(described(name).short, note=note, about=base_name(name))


def _row(findings: Findings, site: str, headline: list[str]) -> tuple[Cell, ...]:
    size = findings.size(site)
    count = counts_cell(size, "caution" if few(size) else "")
    role = findings.role(site)
    rows = [findings.shown(site, role, name) or findings.at(site, name) for name in headline]
    return (Cell(site), count, *map(value_cell, rows))


def _summary_row(
    findings: Findings, name: str, role: str, headline: list[str]
) -> tuple[Cell, ...] | None:
    estimates = [findings.shown(name, role, metric) for metric in headline]
    if not any(estimates):
        return None
    size = max((row["n"] for row in estimates if row), default=0)
    count = Cell(f"{size:,}") if name == "_pooled" else Cell("")
    return (Cell(NAMES[name]), count, *map(value_cell, estimates))


def _everything(findings: Findings) -> Table:
    groups = []
    for role in findings.roles:
        for site in findings.sites(role):
            rows = [_full_row(findings.at(site, name), name) for name in findings.metrics]
            groups.append(group(f"{site} · {GROUPS.get(role, 'site').lower()}", rows))
    return listing(
        "Every metric at every site",
        ("Metric",),
        (
            "Value",
            f"{level(findings.confidence)} interval",
            *("Images", "Positive", "Patients"),
            Column("Remark", numeric=False),
        ),
        groups=groups,
        folded="Every metric at every site (per_site.csv)",
        source="per_site",
    )


def _full_row(row: Record, metric: str) -> tuple[Cell, ...]:
    value, low, high = numbers(row)
    why = reason if value is None else no_interval
    kind = "undefined" if value is None else ""
    counts = (row[name] for name in ("n", "n_positive", "n_patients"))
    return (
        Cell(described(metric).label, about=base_name(metric)),
        Cell(number(value, 3) or "not defined", kind=kind),
        Cell(interval(low, high, 3)),
        *(Cell("" if count is None else f"{count:,}") for count in counts),
        Cell(row["detail"] if row["reason"] == "ok" else why(row["reason"])),
    )


def _forest(findings: Findings) -> Figure:
    sites = [site for role in findings.roles for site in findings.sites(role)]
    rows = [findings.at(site, findings.primary) for site in sites]
    largest = max((row["n"] for row in rows), default=1)
    dots = [_dot(row["site"], row, row["site_role"], row["n"] / max(largest, 1)) for row in rows]
    pooled = findings.summary("_pooled", "all", findings.primary)
    if pooled is not None and len(dots) > 1:
        dots.append(_dot("All rows pooled", pooled, "pooled"))
    expected = _expected(findings, findings.primary)
    if expected is not None and expected["prediction_low"] is not None:
        low, high = expected["prediction_low"], expected["prediction_high"]
        bar = Dot(label="A new hospital", note=interval(low, high), value=None, low=low, high=high)
        dots.append(replace(bar, kind="prediction"))
    label = findings.metric.label[0].upper() + findings.metric.label[1:]
    return dot_strip(
        dots,
        label,
        "forest",
        limits=findings.metric.limits,
        title=f"{label} by site",
        caption=_FOREST.format(f"{level(findings.confidence)} intervals"),
    )


def _dot(label: str, row: Record, kind: str, weight: float = 1.0) -> Dot:
    value, low, high = numbers(row)
    note = noted(value, low, high)
    if low is None:
        note = f"{number(value)} ({no_interval(row['reason'])})"
    if value is None:
        note = f"not defined: {reason(row['reason'])}"
    area = 22 + 70 * weight
    return Dot(label=label, note=note, value=value, low=low, high=high, kind=kind, area=area)


def _expected(findings: Findings, metric: str) -> Record | None:
    table = findings.evaluated.table("meta")
    if table is None:
        return None
    by_role = {row["site_role"]: row for row in records(table[table["metric"] == metric])}
    held_out = by_role.get("held_out")
    # A new hospital is like those held out; with very few of them their interval says nothing.
    if held_out is not None and (held_out["sites"] or 0) >= _ENOUGH_HELD_OUT:
        return held_out
    return by_role.get("all") or held_out or by_role.get("training")
