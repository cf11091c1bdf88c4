"""``offsite cohort``: whether the table is fit to train on, and a table from what there is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands.cohort_reading import class_names, read
from offsite.workflows.commands.doubts import doubts

if TYPE_CHECKING:
    from offsite.preprocessing.cohort.audit import Audit
    from offsite.preprocessing.cohort.table import Cohort

app = typer.Typer(
    help="read, check, doubts: the table of images that everything begins with.",
    no_args_is_help=True,
)
app.command()(read)
app.command()(doubts)
SOME_WRONG = 3
_MOST_UNREADABLE = 30


@app.command()
def check(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: image, patient, site, label ...")],
    classes: Annotated[
        str,
        typer.Option(
            help="Class names in order, separated by commas; default: those of the table."
        ),
    ] = "",
    images: Annotated[
        bool, typer.Option(help="Look at the image files, not at the table alone.")
    ] = True,
    pictures: Annotated[
        bool, typer.Option(help="Open slides; compare photographs as pictures, beside their bytes.")
    ] = True,
    strict: Annotated[
        Path | None, typer.Option(help="Write a clean table here, and beside it what was changed.")
    ] = None,
    shortcuts: Annotated[
        bool, typer.Option("--shortcuts", help="How far colour, sharpness and size alone get.")
    ] = False,
    positive: Annotated[
        list[str] | None,
        typer.Option(
            help="Class that shortcuts are to rank; repeatable; default: all but the first."
        ),
    ] = None,
) -> None:
    """Validate and audit a cohort table: duplicates, leaks, conflicting labels, site giveaways.

    Takes a table; gives counts by site and a list of what is wrong, each fault with its remedy.
    Exit code 2: the table cannot be used; 3: it can, but some of it makes results wrong.

    Example: offsite cohort check cohort.csv --strict clean.csv
    """
    from offsite.children.pool import Children
    from offsite.cores import usable_cores
    from offsite.preprocessing.cohort.audit import audit_cohort
    from offsite.preprocessing.cohort.table import load_cohort
    from offsite.preprocessing.readers.pictures import are_slides, fault_of_slide, pixels_of
    from offsite.workflows.console.messages import stage

    if strict is not None and strict.resolve() == table.resolve():
        raise typer.BadParameter("--strict names the table itself: write the clean one beside it")
    cohort = load_cohort(
        table,
        class_names(classes),
        check_images=images,
        images_named=True if images else None,
        allow_straddling=True,
    )
    _show_counts(cohort, table.name)
    with stage("audit", len(cohort.table)) as advance, Children(usable_cores()) as children:
        slides = are_slides(cohort.image_paths(), children, cohort.table["mpp"].to_numpy(float))
        audit = audit_cohort(
            cohort,
            pictures=images,
            near=pictures,
            slides=slides,
            decode=pixels_of,
            opened=fault_of_slide,
            workers=usable_cores(),
            progress=advance,
            place=children,
        )
    _show_findings(audit, cohort)
    if shortcuts:
        _show_shortcuts(cohort, positive or (), slides)
    if strict is not None:
        _write_strict(cohort, audit, strict)
    if any(finding.severity == "error" for finding in audit.findings):
        raise typer.Exit(SOME_WRONG)


def _show_counts(cohort: "Cohort", title: str) -> None:
    from rich.table import Table

    from offsite.workflows.console.messages import data

    shown = Table(title=f"{title}: {len(cohort.table)} images", title_justify="left")
    for column in ("site", "images", "patients", *cohort.classes, "unlabelled"):
        shown.add_column(column, justify="left" if column == "site" else "right")
    for site, rows in cohort.table.groupby("site"):
        counts = rows["label"].value_counts()
        cells = [len(rows), rows["patient"].nunique()]
        cells += [int(counts.get(name, 0)) for name in (*cohort.classes, "")]
        shown.add_row(str(site), *map(str, cells))
    data.print(shown)


def _show_findings(audit: "Audit", cohort: "Cohort") -> None:
    """A line for each kind of finding with its number, and the first few in words.

    Each image that cannot be read has a reason of its own: of these more are told.
    """
    from rich.markup import escape

    from offsite.workflows.console.messages import data

    colours = {"error": "red", "warning": "yellow", "note": "cyan"}
    images = cohort.table["image"]
    for kind in dict.fromkeys(finding.kind for finding in audit.findings):
        alike = [finding for finding in audit.findings if finding.kind == kind]
        severity = alike[0].severity
        data.print(
            f"[{colours[severity]}]{severity:<8}[/] {len(alike):>5}  {kind.replace('_', ' ')}"
        )
        told = _MOST_UNREADABLE if kind == "unreadable" else 3
        for finding in alike[:told]:
            named = ", ".join(Path(images.iloc[row]).name for row in finding.rows[:3])
            text = f"{finding.detail}: {named}" if named else finding.detail
            data.print(f"                {escape(text)}", soft_wrap=True)
        if len(alike) > told > 3:
            data.print(f"                ... and {len(alike) - told} more")
    if not audit.findings:
        data.print("nothing found")


def _show_shortcuts(cohort: "Cohort", positive: Sequence[str], slides: bool) -> None:
    from offsite.children.pool import Children
    from offsite.cores import usable_cores
    from offsite.workflows.commands.shortcuts import shortcuts_of, show_shortcuts
    from offsite.workflows.console.messages import stage

    workers = usable_cores()
    with stage("shortcuts", len(cohort.table)) as advance, Children(workers) as children:
        table, unread = shortcuts_of(
            cohort, positive, slides=slides, place=children, workers=workers, progress=advance
        )
    show_shortcuts(table, unread)


def _write_strict(cohort: "Cohort", audit: "Audit", path: Path) -> None:
    from offsite.locks import writing
    from offsite.preprocessing.cohort.strict_splits import strict_cohort
    from offsite.preprocessing.readers.building import write_cohort
    from offsite.workflows.console.messages import say
    from offsite.written import check_own, replacing_own

    beside = path.with_name(f"{path.stem}-changes.csv")
    with writing(path.parent, "cohort"):
        for file in (path, beside):
            check_own(file)
        clean, changes = strict_cohort(cohort, audit)
        write_cohort(clean, path)
        with replacing_own(beside) as temporary:
            changes.to_csv(temporary, index=False, lineterminator="\n")
    say(f"{path}: {len(clean.table)} images; {len(changes)} changes in {beside}")
