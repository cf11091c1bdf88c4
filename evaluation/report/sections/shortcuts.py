"""What colour, sharpness, size and storage alone rank, beside the model; and whether it rides on sites."""

from collections.abc import Iterator

from offsite.evaluation.report.content import Cell, Column, Point, Section, Table, listing
from offsite.evaluation.report.findings import Findings
from offsite.evaluation.report.grids import numbers, value_cell
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.wording import estimate, listed

NOTABLE = 0.6
_KINDS = {"within": "Within the site", "across": "From the other sites"}


def section(findings: Findings) -> Section | None:
    """A row for each site, and each task's correlation with what tells the sites apart."""
    shortcuts = findings.evaluated.table("shortcuts", "auroc")
    coupling = findings.evaluated.table("site_coupling", "value")
    tables: list[Table] = []
    if shortcuts is not None:
        tables.append(_shortcuts(findings, records(shortcuts)))
    if coupling is not None:
        tables.append(
            listing(
                "Within a class, correlation of the answer with what tells the training site",
                ("Site", "Task"),
                ("Correlation", "Test images"),
                (
                    (row["site"], row["task"], value_cell(row), str(row["n"]))
                    for row in records(coupling)
                ),
                source="site_coupling",
            )
        )
    if not tables:
        return None
    return Section(
        anchor="shortcuts",
        title="Whether it could answer without seeing disease",
        lead=(
            "A model ranks by what is easiest to see. What a picture shows of its camera says nothing of "
            "disease, but may go with it where the model learnt.",
        ),
        tables=tuple(tables),
        notes=tuple(_notes(shortcuts is not None, coupling is not None)),
    )


def points(findings: Findings) -> Iterator[Point]:
    """A caution where the lower bound from the other sites is notable."""
    table = findings.evaluated.table("shortcuts", "auroc")
    rows = [] if table is None else records(table[table["kind"] == "across"])
    high = [row for row in rows if (row["low"] or 0.0) > NOTABLE]
    if high:
        told = listed([_against_model(findings, row) for row in high])
        yield Point(
            subject="Shortcut",
            sentence=(
                "Colour, sharpness, size and storage of a picture, learnt at the other sites, rank "
                f"{high[0]['task'] or 'the label'} at {told}."
            ),
            caution=True,
            about="shortcuts",
        )


def _against_model(findings: Findings, row: Record) -> str:
    seen = estimate(row["auroc"], row["low"], row["high"])
    model = findings.at(row["site"], f"{row['task']}/auroc")
    beside = f"; the model {estimate(*numbers(model))}" if model["value"] else ""
    return f"{row['site']} (AUROC {seen}{beside})"


def _shortcuts(findings: Findings, rows: list[Record]) -> Table:
    cells: dict[str, dict[str, Cell]] = {}
    for row in rows:
        cell = value_cell(row | {"value": row["auroc"]})
        cells.setdefault(row["site"], {})[row["kind"]] = cell
    task = str(rows[0]["task"])
    return listing(
        f"AUROC for {task or 'the label'} of colour, sharpness, size and storage alone",
        ("Site",),
        (*(Column(heading) for heading in _KINDS.values()), Column("The model", about="auroc")),
        (
            (
                site,
                *(found.get(kind, Cell("")) for kind in _KINDS),
                value_cell(findings.at(site, f"{task}/auroc")),
            )
            for site, found in cells.items()
        ),
    )


def _notes(shortcuts: bool, coupling: bool) -> Iterator[str]:
    if shortcuts:
        yield (
            "Within the site: by patients that were left out; a model can learn it there, and another "
            "hospital need not share it. From the other sites: what all of them teach. Disease colours "
            "pictures too, so this is a warning and no proof. The model's AUROC is that of its test images."
        )
    if coupling:
        yield (
            "Correlation: 0 says that among images of one class the answer does not go with what tells "
            "the training sites apart. A common cause, such as a site's sicker patients, shows as well."
        )
