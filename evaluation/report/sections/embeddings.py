"""Class by class: what is called right, and whether embeddings go by class or by site."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.figures.embedding_map import embedding_map_figure
from offsite.evaluation.report.content import Cell, Column, Point, Section, Table, group, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import GROUPS, counts_cell, value_cell
from offsite.evaluation.tables.reading import Evaluated, records
from offsite.evaluation.wording import number, percent, present

_CALLS = (("sensitivity", "Called so"), ("auroc", "AUROC against the rest"))


def section(findings: Findings, table: pd.DataFrame) -> Section:
    """The map of embeddings, and a table of the classes at training and at held-out sites."""
    drawn = findings.evaluated.table("embedding_map")
    classes = list(dict.fromkeys(table["label"].astype(str)))
    figures: tuple[Figure, ...] = ()
    if drawn is not None:
        sites = [site for role in findings.roles for site in findings.sites(role)]
        known = [site for site in sites if (drawn["site"] == site).any()]
        figures = (embedding_map_figure(drawn, classes, known),)
    return Section(
        anchor="embeddings",
        title="Class by class, and what the model sees alike",
        lead=(
            "An embedding is what the model makes of an image before it decides. It should lie near "
            "those of training images of the same class, whatever the site.",
        ),
        tables=(_table(findings, table, classes),),
        figures=figures,
        notes=(
            "Own class nearer: how often, of two training images of which one is of the image's "
            "class, that one is nearer; 0.5 is chance, 1 the best. Own site nearer: the same of two "
            "training images of the image's class, one of its site; 0.5 says that the site does not "
            "show.",
            *notes(findings.evaluated),
        ),
    )


def points(evaluated: Evaluated) -> Iterator[Point]:
    """A caution for each class that hardly exists for the classifier."""
    model = evaluated.facts.get("model", {})
    items: Mapping[str, int] = model.get("geometry", {}).get("train", {}).get("items", {})
    for name, strength in model.get("weak_classes", {}).items():
        yield Point(
            subject="Rare class",
            sentence=(
                f"{name} ({items.get(name, 0):,} of {sum(items.values()):,} training images) hardly "
                "exists for the classifier: on its own images its logit rises by "
                f"{percent(max(strength, 0.0))} of what that of the strongest class does."
            ),
            caution=True,
            about="embeddings",
        )


def notes(evaluated: Evaluated) -> Iterator[str]:
    """One line on validation images, where the run's record has it."""
    found: Mapping[str, Any] = evaluated.facts.get("model", {}).get("geometry", {}).get("val", {})
    said = {name: present(found.get(name)) for name in ("nc1", "site_collapse", "effective_rank")}
    told = []
    if said["nc1"] is not None:
        by_stage = ", ".join(number(present(value)) for value in found.get("nc1_by_stage", ()))
        behind = f" (stage by stage, from the first: {by_stage})" if by_stage else ""
        told.append(
            f"the spread within classes is {number(said['nc1'])} of that between them{behind}"
        )
    if said["site_collapse"] is not None:
        told.append(
            f"within a class the spread within sites is {number(said['site_collapse'])} times that "
            "between them (under 1 the model gathers sites)"
        )
    if said["effective_rank"] is not None:
        active = int(found.get("active_dimensions") or 0)
        told.append(
            f"embeddings vary in {number(said['effective_rank'], 1)} directions (effective rank), and "
            f"{active:,} of their numbers vary at all"
        )
    if told:
        yield f"On validation images, {'; '.join(told)}."


def _table(findings: Findings, table: pd.DataFrame, classes: list[str]) -> Table:
    rows = {(row["site_role"], row["label"], row["metric"]): row for row in records(table)}
    measured = {
        name.partition("/")[0] for name in findings.metrics if name.partition("/")[2] in classes
    }
    calls = [(name, heading) for name, heading in _CALLS if name in measured]

    def line(role: str, label: str) -> list[str | Cell]:
        near, site = (rows.get((role, label, f"{of}_nearer")) for of in ("class", "site"))
        pooled = [findings.summary("_pooled", role, f"{name}/{label}") for name, _ in calls]
        count = Cell("") if near is None else counts_cell(near)
        return [label, count, *map(value_cell, (*pooled, near, site))]

    return listing(
        "Each class, over all sites of a kind",
        ("Class",),
        (
            Column("Images", note="patients"),
            *(Column(heading, about=name) for name, heading in calls),
            Column("Own class nearer", about="class_nearer"),
            Column("Own site nearer", about="site_nearer"),
        ),
        groups=[
            group(GROUPS.get(role, "Sites"), [line(role, label) for label in classes])
            for role in findings.roles
            if (table["site_role"] == role).any()
        ],
        source="embeddings",
    )
