"""Class by class: what is called right, and whether embeddings go by class or by site."""

import pandas as pd

from offsite.evaluation.figures.drawing import Figure
from offsite.evaluation.figures.embedding_map import embedding_map_figure
from offsite.evaluation.report.content import Cell, Column, Group, Section, Table
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import GROUPS, Record
from offsite.evaluation.report.sections import geometry
from offsite.evaluation.report.sections.sites import value_cell
from offsite.evaluation.tables.reading import Evaluated, records
from offsite.evaluation.wording import interval, number, present, reason

_CALLS = (("sensitivity", "Called so"), ("auroc", "AUROC against the rest"))


def section(evaluated: Evaluated, findings: Findings) -> Section | None:
    """The map of embeddings, and a table of the classes at training and at held-out sites."""
    table = evaluated.measured("embeddings")
    if table is None:
        return None
    drawn = evaluated.table("embedding_map")
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
            *geometry.notes(evaluated),
        ),
    )


def _table(findings: Findings, table: pd.DataFrame, classes: list[str]) -> Table:
    looked_up = {(row["site_role"], row["label"], row["metric"]): row for row in records(table)}
    calls = [(name, heading) for name, heading in _CALLS if _known(findings, name, classes)]
    groups = [
        Group(
            heading=GROUPS.get(role, "Sites"),
            rows=tuple(
                (
                    Cell(text=label),
                    _count(looked_up.get((role, label, "class_nearer"))),
                    *(_called(findings, role, f"{name}/{label}") for name, _ in calls),
                    _share(looked_up.get((role, label, "class_nearer"))),
                    _share(looked_up.get((role, label, "site_nearer"))),
                )
                for label in classes
            ),
        )
        for role in findings.roles
        if (table["site_role"] == role).any()
    ]
    return Table(
        caption="Each class, over all sites of a kind",
        columns=(
            Column(heading="Class", numeric=False),
            Column(heading="Images", note="patients"),
            *(Column(heading=heading, about=name) for name, heading in calls),
            Column(heading="Own class nearer", about="class_nearer"),
            Column(heading="Own site nearer", about="site_nearer"),
        ),
        groups=tuple(groups),
        source="embeddings",
    )


def _known(findings: Findings, metric: str, classes: list[str]) -> bool:
    return any(f"{metric}/{label}" in findings.metrics for label in classes)


def _called(findings: Findings, role: str, metric: str) -> Cell:
    found = findings.summary("_pooled", role, metric)
    return Cell(text="") if found is None else value_cell(found)


def _count(row: Record | None) -> Cell:
    if row is None:
        return Cell(text="")
    patients = present(row.get("n_patients"))
    return Cell(text=f"{int(row['n']):,}", note="" if patients is None else f"{int(patients):,}")


def _share(row: Record | None) -> Cell:
    if row is None:
        return Cell(text="")
    value = present(row["value"])
    if value is None:
        return Cell(text=reason(str(row["reason"])), kind="undefined")
    bounds = interval(present(row["low"]), present(row["high"]))
    return Cell(text=number(value), note=bounds or "no interval")
