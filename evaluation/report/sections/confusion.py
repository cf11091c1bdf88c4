"""What is called what, at each site."""

import pandas as pd

from offsite.evaluation.figures.confusion import confusion_figure
from offsite.evaluation.report.content import Cell, Section, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import sites_of, without_lone_pools
from offsite.evaluation.tables.reading import records
from offsite.evaluation.wording import percent


def section(findings: Findings, table: pd.DataFrame) -> Section | None:
    """Confusion matrices: pooled by role, then each site that has labels."""
    labelled = table.groupby(["site", "site_role"])["count"].sum()
    having = {key for key, count in labelled.items() if count > 0}
    pooled = [("_pooled", role) for role in findings.roles]
    single = [
        (row["site"], row["site_role"])
        for row in sites_of(findings, table.drop_duplicates(["site", "site_role"]))
    ]
    sites = without_lone_pools([key for key in [*pooled, *single] if key in having])
    if not sites:
        return None
    classes = findings.evaluated.facts.get("classes") or list(dict.fromkeys(table["true_class"]))
    rows = (
        (
            Cell(row["site"], note=row["site_role"].replace("_", " ")),
            row["true_class"],
            row["predicted_class"],
            f"{row['count']:,}",
            percent(row["share"]),
        )
        for row in records(table[~table["site"].str.startswith("_")])
    )
    return Section(
        anchor="confusion",
        title="Which classes are confused",
        figures=(confusion_figure(table, [str(name) for name in classes], sites),),
        tables=(
            listing(
                "Counts of every pair of classes",
                ("Site", "True class", "Called"),
                ("Images", "Share of the true class"),
                rows,
                folded="Counts of every pair of classes (confusion.csv)",
                source="confusion",
            ),
        ),
    )
