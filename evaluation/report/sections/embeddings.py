"""Class by class: what is called right, and whether embeddings go by class or by site."""

import pandas as pd

from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.figures.embedding_map import embedding_map_figure
from offsite.evaluation.report.content import Cell, Column, Group, Section, Table, cells, listing
from offsite.evaluation.report.findings import Findings, estimate_of
from offsite.evaluation.report.grids import GROUPS, counts_cell, value_cell
from offsite.evaluation.report.sections import geometry
from offsite.evaluation.tables.reading import records

_CALLS = (("sensitivity", "Called so"), ("auroc", "AUROC against the rest"))


def section(findings: Findings) -> Section | None:
    """The map of embeddings, and a table of the classes at training and at held-out sites."""
    table = findings.evaluated.measured("embeddings")
    if table is None:
        return None
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
            *geometry.notes(findings.evaluated),
        ),
    )


def _table(findings: Findings, table: pd.DataFrame, classes: list[str]) -> Table:
    rows = {
        (row["site_role"], row["label"], row["metric"]): estimate_of(row) for row in records(table)
    }
    calls = [(name, heading) for name, heading in _CALLS if _known(findings, name, classes)]

    def line(role: str, label: str) -> list[str | Cell]:
        near, site = (rows.get((role, label, f"{of}_nearer")) for of in ("class", "site"))
        pooled = [findings.summary("_pooled", role, f"{name}/{label}") for name, _ in calls]
        count = Cell("") if near is None else counts_cell(near.n, near.n_patients)
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
            Group(
                heading=GROUPS.get(role, "Sites"),
                rows=cells(line(role, label) for label in classes),
            )
            for role in findings.roles
            if (table["site_role"] == role).any()
        ],
        source="embeddings",
    )


def _known(findings: Findings, metric: str, classes: list[str]) -> bool:
    return any(f"{metric}/{label}" in findings.metrics for label in classes)
