"""The page that compares methods: sites down, methods across, differences with their intervals."""

import importlib.metadata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.figures.dots import Dot, Panel, dot_panels
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.metrics.names import described, headline_metrics, primary_metric
from offsite.evaluation.report.content import Cell, Column, Group, Point, Section, Table
from offsite.evaluation.report.grids import dot_of
from offsite.evaluation.report.page import Page, render
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import (
    change,
    counted,
    interval,
    level,
    listed,
    number,
    present,
    reason,
)
from offsite.written import write_own

Record = dict[str, object]
_NAMES = {"_pooled": "All rows pooled", "_worst": "Worst site", "_gap": "Best minus worst site"}
_GROUPS = {"held_out": "Held-out sites", "training": "Training sites", "all": "All sites"}
_CAPTION = (
    "Difference to the baseline at each site, with the interval over patients and seeds; the "
    "dashed line is no difference. Filled squares are held-out sites."
)


def write_comparison(
    methods: pd.DataFrame,
    path: str | Path,
    *,
    baseline: str,
    title: str = "Comparison of methods",
    primary: str | None = None,
    confidence: float = 0.95,
) -> Path:
    """Write the page of a comparison, one self-contained file.

    Parameters
    ----------
    methods : pandas.DataFrame
        ``methods.csv``: a row per ``method, site, site_role, metric``. Where there is a column
        ``division``, each of its values is compared by itself.
    path : path
        The page to write.
    baseline : str
        The method that the others are compared with.
    title : str
        Title of the page.
    primary : str, optional
        Metric that the summary is about; by default the usual one.
    confidence : float
        Confidence (0..1) of the intervals.

    Raises
    ------
    InputError
        The baseline is none of the methods.
    """
    names = list(dict.fromkeys(methods["method"]))
    if baseline not in names:
        raise InputError(
            f"'{baseline}' is not one of the compared methods",
            remedy=f"The methods are {', '.join(names)}",
            code="no_baseline",
        )
    others = [name for name in names if name != baseline]
    page = Page(
        title=title,
        subtitle=f"{listed(others) if others else 'No method'} against {baseline}",
        facts=_facts(methods, names),
        sections=tuple(_sections(methods, names, baseline, primary, level(confidence))),
        version=importlib.metadata.version("offsite"),
    )
    target = Path(path)
    write_own(target, render(page))
    return target


def _sections(
    methods: pd.DataFrame, names: list[str], baseline: str, primary: str | None, sure: str
) -> Iterator[Section]:
    parts: dict[str, pd.DataFrame] = {}
    if "division" in methods:
        parts = {str(name): part for name, part in methods.groupby("division", sort=False)}
    others = [name for name in names if name != baseline]
    for part_number, (division, part) in enumerate((parts or {"": methods}).items()):
        suffix, told = ("", "") if len(parts) < 2 else (f"-{part_number}", f": {division}")
        metrics = list(dict.fromkeys(part["metric"]))
        headline = primary_metric(metrics, primary)
        summary = _summary(part, baseline, others, headline, f"differences{suffix}", sure)
        anchor = "summary" if part_number == 0 else f"summary{suffix}"
        yield replace(summary, anchor=anchor, title=f"Summary{told}")
        for rank, metric in enumerate(headline_metrics(metrics, headline)):
            matrix = _matrix(part, names, metric, folded=rank > 1)
            yield replace(matrix, anchor=matrix.anchor + suffix, title=matrix.title + told)


def _facts(methods: pd.DataFrame, names: list[str]) -> tuple[Point, ...]:
    sites = methods[~methods["site"].str.startswith("_")]["site"].nunique()
    seeds = methods.groupby("method")["seeds"].max()
    low, high = int(seeds.min()), int(seeds.max())
    return (
        Point(subject="Methods", sentence=str(len(names))),
        Point(subject="Seeds of each", sentence=str(low) if low == high else f"{low}–{high}"),
        Point(subject="Sites", sentence=str(sites)),
    )


def _summary(
    methods: pd.DataFrame,
    baseline: str,
    others: list[str],
    metric: str,
    figure: str,
    sure: str,
) -> Section:
    label = described(metric).label
    rows = methods[methods["metric"] == metric]
    points, panels = [], []
    for method in others:
        of_method = _ordered(rows[rows["method"] == method])
        sites = [row for row in of_method if not str(row["site"]).startswith("_")]
        points.append(Point(subject=method, sentence=_told(sites, of_method, metric)))
        panels.append(Panel(title=method, dots=[_dot(row) for row in sites], mark=0.0))
    worse = any("worse at" in point.sentence for point in points)
    lead = (
        f"Differences of {label} to {baseline}, on the same test images. A site counts as better "
        f"or worse only where the {sure} interval over patients and seeds excludes no difference."
    )
    drawn: tuple[Figure, ...] = ()
    if panels and panels[0].dots:
        drawn = (dot_panels(panels[:3], f"Difference of {label} to {baseline}", figure, _CAPTION),)
    notes = ("The first three methods are drawn.",) if len(panels) > 3 else ()
    if worse:
        notes = (*notes, "A method that is better on average can be worse at one hospital.")
    return Section(
        anchor="summary",
        title="Summary",
        lead=(lead,),
        points=tuple(points),
        figures=drawn,
        notes=notes,
    )


def _told(sites: list[Record], of_method: list[Record], metric: str) -> str:
    higher = described(metric).higher is not False
    better, worse, open_, unknown = [], [], [], []
    for row in sites:
        low, high = present(row["difference_low"]), present(row["difference_high"])
        if present(row["difference"]) is None:
            unknown.append(str(row["site"]))
        elif low is None or high is None:
            open_.append(str(row["site"]))
        elif (low > 0) if higher else (high < 0):
            better.append(f"{row['site']} ({_signed(row)})")
        elif (high < 0) if higher else (low > 0):
            worse.append(f"{row['site']} ({_signed(row)})")
        else:
            open_.append(str(row["site"]))
    parts = [
        f"{word} {listed(told)}"
        for word, told in (
            ("better at", better),
            ("worse at", worse),
            ("undecided at", open_),
            ("not comparable at", unknown),
        )
        if told
    ]
    pooled = next(
        (row for row in of_method if row["site"] == "_pooled" and row["site_role"] == "held_out"),
        None,
    )
    if pooled is not None and present(pooled["difference"]) is not None:
        parts.append(f"over all held-out rows {_signed(pooled)}")
    return f"{'; '.join(parts) or 'nothing to compare'}."


def _matrix(methods: pd.DataFrame, names: list[str], metric: str, *, folded: bool) -> Section:
    rows = methods[methods["metric"] == metric]
    cells = {(row["method"], row["site"], row["site_role"]): row for row in records(rows)}
    places = [(str(row["site"]), str(row["site_role"])) for row in _ordered(rows)]
    groups = []
    for role in dict.fromkeys(role for _, role in places):
        lines = tuple(
            (
                Cell(text=_NAMES.get(site, site)),
                *(_cell(cells.get((name, site, role)), metric) for name in names),
            )
            for site in dict.fromkeys(site for site, of in places if of == role)
        )
        groups.append(Group(heading=_GROUPS.get(role, "Sites"), rows=lines))
    label = described(metric).label
    caption = f"{label[0].upper()}{label[1:]} by site and method"
    seeds = {name: int(methods.loc[methods["method"] == name, "seeds"].max()) for name in names}
    table = Table(
        caption=caption,
        columns=(
            Column(heading="Site", numeric=False),
            *(Column(heading=name, note=counted(seeds[name], "seed")) for name in names),
        ),
        groups=tuple(groups),
        folded=caption if folded else "",
    )
    direction = "Less" if described(metric).higher is False else "More"
    anchor = "metric-" + "".join(letter if letter.isalnum() else "-" for letter in metric)
    return Section(
        anchor=anchor,
        title=label[0].upper() + label[1:],
        tables=(table,),
        notes=(f"{direction} is better. Under each value: the difference to the baseline.",),
    )


def _ordered(rows: pd.DataFrame) -> list[Record]:
    """Held-out sites first, the worst on top (over all methods), summaries last."""
    means = rows.groupby(["site", "site_role"])["value"].mean().to_dict()
    higher = described(str(rows["metric"].iloc[0])).higher is not False if len(rows) else True
    roles = {"held_out": 0, "training": 1}

    def rank(row: Record) -> tuple[object, ...]:
        site, role = str(row["site"]), str(row["site_role"])
        mean = present(means.get((site, role)))
        value = 0.0 if mean is None else mean if higher else -mean
        return roles.get(role, 2), site.startswith("_"), mean is None, value, site

    return sorted(records(rows), key=rank)


def _cell(row: Record | None, metric: str) -> Cell:
    value = None if row is None else present(row["value"])
    if row is None or value is None:
        return Cell(text=reason(str(row["reason"])) if row else "", kind="undefined")
    low, high = present(row["difference_low"]), present(row["difference_high"])
    note = _signed(row) if low is not None else ""
    worse = (
        None
        if low is None or high is None
        else (low > 0 if described(metric).higher is False else high < 0)
    )
    return Cell(text=number(value), note=note, kind="caution" if worse else "")


def _signed(row: Record) -> str:
    value = present(row["difference"])
    if value is None:
        return ""
    bounds = interval(present(row["difference_low"]), present(row["difference_high"]))
    return f"{change(value)} ({bounds})" if bounds else change(value)


def _dot(row: Record) -> Dot:
    renamed = {"value": "difference", "low": "difference_low", "high": "difference_high"}
    return dot_of(row | {name: row[of] for name, of in renamed.items()}, _signed)
