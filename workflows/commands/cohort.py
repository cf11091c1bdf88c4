"""``offsite cohort``: whether the table is fit to train on, and a table from what there is."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offsite.workflows.commands.doubts import doubts

if TYPE_CHECKING:
    from offsite.preprocessing.cohort.audit import Audit
    from offsite.preprocessing.cohort.table import Cohort

app = typer.Typer(
    help="read, check, doubts: the table of images that everything begins with.",
    no_args_is_help=True,
)
app.command()(doubts)
SOME_WRONG = 3
_MOST_UNREADABLE = 30


class Layout(StrEnum):
    """How images and labels lie on disk."""

    GDRBENCH = "gdrbench"
    CLASS_FOLDERS = "class-folders"
    MEDMNIST = "medmnist"
    TABLE = "table"


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
    cohort = load_cohort(table, _names(classes), check_images=images, allow_straddling=True)
    _show_counts(cohort, table.name)
    with stage("audit", len(cohort.table)) as advance, Children(usable_cores()) as children:
        slides = are_slides(cohort.image_paths(), children)
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


@app.command()
def read(
    source: Annotated[
        Path, typer.Argument(help="Folder, a MedMNIST .npz file, or a cohort table.")
    ],
    layout: Annotated[Layout, typer.Option(help="How it lies on disk.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The cohort table to write.")],
    classes: Annotated[str, typer.Option(help="Class names in order, separated by commas.")] = "",
    held_out: Annotated[
        list[str] | None, typer.Option(help="GDRBench site that is test throughout; repeatable.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of GDRBench's lists; default: SOURCE/splits.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Name of the one site of class folders.")] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help="Regular expression with one group: patient in a file name.")
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="doubts.csv with its decisions, which become a column beside the label."),
    ] = None,
) -> None:
    """Write a cohort table from what there is: folders, a MedMNIST file, another table.

    Takes a folder, an .npz file or a cohort table; gives the table (CSV or Parquet), and prints its
    path. With --decisions it has what people decided on doubtful labels as column 'decision'; no
    label is changed.

    Example: offsite cohort read photos --layout class-folders -o cohort.csv --site east
    """
    from offsite.locks import writing
    from offsite.preprocessing.readers.building import write_cohort
    from offsite.written import check_own

    with writing(output.parent, "cohort"):
        check_own(output)
        cohort = _read(
            source, layout, output.parent, classes, held_out, lists, site, patient_pattern
        )
        if decisions is not None:
            cohort = _decided(cohort, decisions)
        typer.echo(write_cohort(cohort, output))


def _decided(cohort: "Cohort", decisions: Path) -> "Cohort":
    from offsite.workflows.console.messages import say
    from offsite.workflows.doubts.decisions import told, with_decisions

    decided = with_decisions(cohort, decisions)
    say(told(decided))
    return decided


def _read(
    source: Path,
    layout: Layout,
    folder: Path,
    classes: str,
    held_out: list[str] | None,
    lists: Path | None,
    site: str | None,
    patient_pattern: str | None,
) -> "Cohort":
    from offsite.preprocessing.cohort.table import load_cohort
    from offsite.preprocessing.readers.class_folders import left_out, read_class_folders
    from offsite.preprocessing.readers.gdrbench import read_gdrbench
    from offsite.preprocessing.readers.medmnist import read_medmnist
    from offsite.workflows.console.messages import say

    if layout is Layout.TABLE:
        return load_cohort(source, _names(classes))
    if layout is Layout.GDRBENCH:
        return read_gdrbench(source, held_out=held_out or (), lists=lists)
    if layout is Layout.CLASS_FOLDERS:
        cohort = read_class_folders(
            source, _names(classes), site=site, patient_pattern=patient_pattern
        )
        counts = sorted(left_out(source, site=site).items())
        if counts:
            say("Left out: " + ", ".join(f"{count} {what}" for what, count in counts))
        return cohort
    names = _names(classes)
    if not names:
        raise typer.BadParameter("a MedMNIST file does not name its classes: give --classes")
    return read_medmnist(source, folder, names)


def _names(classes: str) -> list[str] | None:
    return [name.strip() for name in classes.split(",") if name.strip()] or None


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
