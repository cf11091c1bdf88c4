"""The page that compares methods: sites down, methods across, differences with their intervals."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.figures.dots import Panel, dot_panels
from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.metrics.names import described, headline_metrics, primary_metric
from offsite.evaluation.report.content import Cell, Column, Point, Section, listing
from offsite.evaluation.report.grids import by_role, dot_of
from offsite.evaluation.report.page import Page, render
from offsite.evaluation.statistics.binomial import holm
from offsite.evaluation.tables.reading import Record, records
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

Place = tuple[str, str, str]
_DRAWN = {"value": "difference", "low": "difference_low", "high": "difference_high"}
_BETTER, _WORSE, _OPEN = "better at", "worse at", "undecided at"
_CAPTION = (
    "Difference to the baseline at each site, with the interval over patients and seeds; the "
    "dashed line is no difference. Filled squares are held-out sites."
)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Methods on the same test images.

    Attributes
    ----------
    suffix, told : str
        What tells its sections from others': in addresses, and in titles.
    rows : pandas.DataFrame
        Of ``methods.csv``.
    metric : str
        The one that the summary is about.
    verdicts : mapping of (method, site, role) to str
        Better, worse or undecided in that metric, beyond chance over the whole page.
    """

    suffix: str
    told: str
    rows: pd.DataFrame
    metric: str
    verdicts: Mapping[Place, str] = field(default_factory=dict)

    @property
    def higher(self) -> bool:
        """Whether more of the metric is better."""
        return described(self.metric).higher is not False


def _place(row: Record) -> Place:
    return row["method"], row["site"], row["site_role"]


def write_comparison(
    methods: pd.DataFrame,
    path: str | Path,
    *,
    baseline: str,
    title: str = "Comparison of methods",
    primary: str | None = None,
    confidence: float = 0.95,
    alarm_level: float = 0.05,
    more: Sequence[Section] = (),
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
    alarm_level : float
        Familywise level (0..1) of all that the page calls better or worse.
    more : sequence of Section
        Further sections, at the end.

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
    levels = (confidence, alarm_level)
    page = Page(
        title=title,
        subtitle=f"{listed(others) if others else 'No method'} against {baseline}",
        facts=_facts(methods, names),
        sections=(*_sections(_parts(methods, primary), names, baseline, levels), *more),
        version=importlib.metadata.version("offsite"),
    )
    target = Path(path)
    write_own(target, render(page))
    return target


def _parts(methods: pd.DataFrame, primary: str | None) -> list[_Part]:
    divisions = methods.groupby("division", sort=False) if "division" in methods else ()
    named = [(str(name), rows) for name, rows in divisions] or [("", methods)]
    several = len(named) > 1
    return [
        _Part(
            suffix=f"-{place}" if several else "",
            told=f": {name}" if several else "",
            rows=rows,
            metric=primary_metric(list(dict.fromkeys(rows["metric"])), primary),
        )
        for place, (name, rows) in enumerate(named)
    ]


def _judged(parts: list[_Part], baseline: str, alarm_level: float) -> Iterator[_Part]:
    """The parts with what is said of their sites, all of the page as one family."""
    asked = [
        (place, row, p_value)
        for place, part in enumerate(parts)
        for row in records(part.rows[part.rows["metric"] == part.metric])
        if row["method"] != baseline and not row["site"].startswith("_")
        if (p_value := row.get("p_value")) is not None
    ]
    found: list[dict[Place, str]] = [{} for _ in parts]
    for (place, row, _), adjusted in zip(asked, holm([p for *_, p in asked]), strict=True):
        good = ((row["difference"] or 0.0) > 0) == parts[place].higher
        sure = _BETTER if good else _WORSE
        found[place][_place(row)] = sure if adjusted <= alarm_level else _OPEN
    for part, verdicts in zip(parts, found, strict=True):
        yield replace(part, verdicts=verdicts)


def _sections(
    parts: list[_Part], names: list[str], baseline: str, levels: tuple[float, float]
) -> Iterator[Section]:
    judged = list(_judged(parts, baseline, levels[1]))
    lead = (
        f"Each with its {level(levels[0])} interval over patients and seeds. A site counts as better or "
        "worse only where the difference is beyond chance among all that this page asks "
        f"({counted(sum(len(part.verdicts) for part in judged), 'question')}, one familywise level of "
        f"{level(levels[1])}; Holm 1979)."
    )
    for place, part in enumerate(judged):
        anchor = f"summary{part.suffix}" if place else "summary"
        yield replace(_summary(part, names, baseline, lead), anchor=anchor)
        metrics = list(dict.fromkeys(part.rows["metric"]))
        for rank, metric in enumerate(headline_metrics(metrics, part.metric)):
            yield _matrix(part, names, metric, folded=rank > 1)


def _facts(methods: pd.DataFrame, names: list[str]) -> tuple[Point, ...]:
    sites = methods[~methods["site"].str.startswith("_")]["site"].nunique()
    seeds = methods.groupby("method")["seeds"].max()
    low, high = int(seeds.min()), int(seeds.max())
    return (
        Point(subject="Methods", sentence=str(len(names))),
        Point(subject="Seeds of each", sentence=str(low) if low == high else f"{low}–{high}"),
        Point(subject="Sites", sentence=str(sites)),
    )


def _summary(part: _Part, names: list[str], baseline: str, lead: str) -> Section:
    axis = f"Difference of {described(part.metric).label} to {baseline}"
    rows = part.rows[part.rows["metric"] == part.metric]
    points, panels = [], []
    for method in (name for name in names if name != baseline):
        of_method = _ordered(rows[rows["method"] == method])
        sites = [row for row in of_method if not row["site"].startswith("_")]
        points.append(Point(subject=method, sentence=_told(part, sites, of_method)))
        dots = [
            dot_of(row | {name: row[of] for name, of in _DRAWN.items()}, _signed) for row in sites
        ]
        panels.append(Panel(title=method, dots=dots, mark=0.0))
    drawn: tuple[Figure, ...] = ()
    notes = ["The first three methods are drawn."] if len(panels) > 3 else []
    if _WORSE in part.verdicts.values():
        notes.append("A method that is better on average can be worse at one hospital.")
    if panels and panels[0].dots:
        drawn = (dot_panels(panels[:3], axis, f"differences{part.suffix}", _CAPTION),)
    return Section(
        anchor="summary",
        title=f"Summary{part.told}",
        lead=(f"{axis}, on the same test images. {lead}",),
        points=tuple(points),
        figures=drawn,
        notes=tuple(notes),
    )


def _told(part: _Part, sites: list[Record], of_method: list[Record]) -> str:
    by_word: dict[str, list[str]] = {_BETTER: [], _WORSE: [], _OPEN: [], "not comparable at": []}
    for row in sites:
        known = row["difference"] is not None
        word = part.verdicts.get(_place(row), _OPEN) if known else "not comparable at"
        sure = f" ({_signed(row)})" if word in (_BETTER, _WORSE) else ""
        by_word[word].append(f"{row['site']}{sure}")
    told = [f"{word} {listed(names)}" for word, names in by_word.items() if names]
    told += [
        f"over all held-out rows {_signed(row)}"
        for row in of_method
        if (row["site"], row["site_role"]) == ("_pooled", "held_out") and _signed(row)
    ]
    return f"{'; '.join(told) or 'nothing to compare'}."


def _matrix(part: _Part, names: list[str], metric: str, *, folded: bool) -> Section:
    rows = part.rows[part.rows["metric"] == metric]
    cells = {(row["method"], row["site"], row["site_role"]): row for row in records(rows)}
    places = [(row["site"], row["site_role"]) for row in _ordered(rows)]
    worse = {key for key, word in part.verdicts.items() if (word, metric) == (_WORSE, part.metric)}
    groups = by_role(
        list(dict.fromkeys(places)),
        lambda site, role: [_cell(cells.get((name, site, role)), worse) for name in names],
    )
    label = described(metric).label
    title = label[0].upper() + label[1:]
    caption = f"{title} by site and method"
    seeds = part.rows.groupby("method")["seeds"].max().to_dict()
    heads = [Column(name, note=counted(int(seeds[name]), "seed")) for name in names]
    direction = "Less" if described(metric).higher is False else "More"
    anchor = "metric-" + "".join(letter if letter.isalnum() else "-" for letter in metric)
    table = listing(caption, ("Site",), heads, groups=groups, folded=caption if folded else "")
    return Section(
        anchor=f"{anchor}{part.suffix}",
        title=f"{title}{part.told}",
        tables=(table,),
        notes=(f"{direction} is better. Under each value: the difference to the baseline.",),
    )


def _ordered(rows: pd.DataFrame) -> list[Record]:
    """Held-out sites first, the worst on top (over all methods), summaries last."""
    means = rows.groupby(["site", "site_role"])["value"].mean().to_dict()
    higher = described(str(rows["metric"].iloc[0])).higher is not False if len(rows) else True
    roles = {"held_out": 0, "training": 1}

    def rank(row: Record) -> tuple[object, ...]:
        site, role = row["site"], row["site_role"]
        mean = present(means.get((site, role)))
        value = 0.0 if mean is None else mean if higher else -mean
        return roles.get(role, 2), site.startswith("_"), mean is None, value, site

    return sorted(records(rows), key=rank)


def _cell(row: Record | None, worse: set[Place]) -> Cell:
    if row is None or row["value"] is None:
        return Cell(reason(row["reason"]) if row else "", kind="undefined")
    note = _signed(row) if row["difference_low"] is not None else ""
    return Cell(number(row["value"]), note=note, kind="caution" if _place(row) in worse else "")


def _signed(row: Record) -> str:
    bounds = interval(row["difference_low"], row["difference_high"])
    return change(row["difference"]) + (f" ({bounds})" if bounds else "")
