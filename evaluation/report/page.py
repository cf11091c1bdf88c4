"""The page: which sections there are, in which order, and the template that shows them."""

import html
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.report import accusations
from offsite.evaluation.report.content import Point, Section
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.sections import (
    acquisition,
    calibration,
    cohort,
    confusion,
    embeddings,
    extremes,
    foreign,
    how,
    operating,
    provenance,
    selective,
    shift,
    shortcuts,
    sites,
    subgroups,
    summary,
)
from offsite.evaluation.tables.reading import Evaluated, read_evaluation
from offsite.written import write_own

_TEMPLATES = Path(__file__).parent / "templates"
_XLINK = "http://www.w3.org/1999/xlink"
_SECTIONS: tuple[tuple[Callable[..., Section | None], *tuple[str, ...]], ...] = (
    (sites.section,),
    (subgroups.section, "subgroups"),
    (operating.section, "operating_points"),
    (calibration.section, "calibration"),
    (confusion.section, "confusion"),
    (embeddings.section, "embeddings", "value"),
    (shift.section, "shift", "value"),
    (shortcuts.section,),
    (foreign.section, "ood", "value"),
    (selective.sets_section, "conformal", "coverage"),
    (selective.selective_section, "selective"),
    (cohort.section, "cohort"),
    (acquisition.section,),
    (provenance.limits,),
    (provenance.section,),
)
"""Between the summary and how the numbers were made; with the table, and the numbers, that it needs."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the template is given."""

    title: str
    subtitle: str
    facts: tuple[Point, ...]
    sections: tuple[Section, ...]
    version: str


def write_report(folder: str | Path, facts: Mapping[str, Any] | None = None) -> Path:
    """Write ``report.html`` and ``figures/`` from the tables of an evaluation folder.

    The page is one file: its style and figures stand inside, it asks the network for nothing and
    holds no script. The same tables give the same bytes.

    Parameters
    ----------
    folder : path
        An evaluation folder with at least ``per_site.csv``.
    facts : mapping, optional
        Title and provenance; by default what ``evaluation.json`` holds.

    Returns
    -------
    pathlib.Path
        ``report.html`` in the folder.

    Raises
    ------
    InputError
        There is no per-site table.
    """
    page = build_page(read_evaluation(folder, facts))
    target = Path(folder) / "report.html"
    for part in page.sections:
        for figure in part.figures:
            write_own(Path(folder) / "figures" / f"{figure.name}.svg", standalone(figure))
    write_own(target, render(page))
    return target


def build_page(evaluated: Evaluated) -> Page:
    """Every section whose tables are there; one without says nothing but in the known limits."""
    findings = Findings(evaluated)
    shown = [part for section in _SECTIONS if (part := _made(findings, *section))]
    return Page(
        title=str(evaluated.facts.get("title") or "Evaluation"),
        subtitle=str(evaluated.facts.get("subtitle") or _subtitle(findings)),
        facts=_facts(findings),
        sections=(
            _summary(findings),
            *shown,
            how.section(findings, shown),
        ),
        version=importlib.metadata.version("offsite"),
    )


def _made(
    findings: Findings, section: Callable[..., Section | None], *needed: str
) -> Section | None:
    if not needed:
        return section(findings)
    rows = findings.evaluated.table(*needed)
    return None if rows is None else section(findings, rows)


def summary_words(evaluated: Evaluated) -> list[str]:
    """The sentences of the page's summary, the weightiest first; nothing is drawn for them."""
    part = _summary(Findings(evaluated))
    points = (f"{point.subject}: {point.sentence}" for point in part.points)
    return [*part.lead, *points]


def _summary(findings: Findings) -> Section:
    points = (
        *(
            replace(point, about=about)
            for module, about in ((sites, "sites"), (extremes, "sites"), (subgroups, "subgroups"))
            for point in module.points(findings)
        ),
        *embeddings.points(findings.evaluated),
        *shortcuts.points(findings),
        *accusations.points(findings),
    )
    return summary.section(findings, points)


def render(page: Page) -> str:
    """The page as HTML; everything that comes from data is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = drawing
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    context: Mapping[str, Any] = {"page": page, "style": Markup(style)}  # noqa: S704  ours
    return environment.get_template("report.html.j2").render(context)


def drawing(figure: Figure) -> Markup:
    """The figure's ``<svg>`` with its accessible name; matplotlib has escaped the text inside."""
    return Markup(_named(figure))  # noqa: S704


def standalone(figure: Figure) -> str:
    """The figure as a file of its own, which unlike a page's element has to name its namespaces."""
    svg = _named(figure).replace("<svg ", f'<svg xmlns:xlink="{_XLINK}" ', 1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


def _named(figure: Figure) -> str:
    title, description = html.escape(figure.title), html.escape(figure.description)
    head, rest = figure.svg.split(">", 1)
    names = f'role="img" aria-labelledby="{figure.name}-t {figure.name}-d"'
    texts = f'<title id="{figure.name}-t">{title}</title><desc id="{figure.name}-d">{description}</desc>'
    return f"{head} {names}>{texts}{rest}"


def _subtitle(findings: Findings) -> str:
    counts = {role: len(findings.sites(role)) for role in findings.roles}
    names = {"training": "training", "held_out": "held-out", "unknown": "unnamed"}
    parts = [f"{count} {names.get(role, role)}" for role, count in counts.items()]
    told = f"Test images of {' and '.join(parts)} site{'' if sum(counts.values()) == 1 else 's'}"
    return f"{told}, cross-validated in {findings.folds} folds" if findings.folds else told


def _facts(findings: Findings) -> tuple[Point, ...]:
    rows = [findings.size(site) for site in findings.sites()]
    patients = [row["n_patients"] for row in rows if row["n_patients"] is not None]
    images = sum(row["n"] for row in rows)
    points = [Point(subject="Test images, labelled", sentence=f"{images:,}")]
    if patients:
        points.append(Point(subject="Patients", sentence=f"{sum(patients):,}"))
    points.append(Point(subject="Sites", sentence=str(len(rows))))
    held_out = len(findings.sites("held_out"))
    points.append(Point(subject="of them held out", sentence=str(held_out)))
    classes = findings.evaluated.facts.get("classes")
    if classes:
        points.append(Point(subject="Classes", sentence=", ".join(map(str, classes))))
    return tuple(points)
