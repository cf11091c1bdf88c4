"""The evaluation of a table of predictions, whoever made it: how it is read, and where it is written."""

import json
from collections.abc import Sequence
from pathlib import Path

from offsite.errors import InputError
from offsite.evaluation.evaluating import Evaluation, evaluate
from offsite.evaluation.making import steps
from offsite.evaluation.predictions.example import example_predictions
from offsite.evaluation.predictions.frames import read_predictions
from offsite.evaluation.report.page import summary_words
from offsite.evaluation.report.settings import TableSettings
from offsite.evaluation.tables.reading import read_evaluation
from offsite.evaluation.tracking.data_parts import parts_of_cohort
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.told import Told
from offsite.tables.reading import SUFFIXES
from offsite.workflows.console.messages import stage
from offsite.workflows.jobs.yaml_settings import load_settings
from offsite.written import write_own


def evaluate_table(
    table: Path, folder: Path | None, file: Path | None, overrides: Sequence[str] = ()
) -> Evaluation:
    """Evaluate predictions that offsite need not have made.

    Parameters
    ----------
    table : path
        See docs/evaluation/predictions.md.
    folder : path, optional
        Folder of the evaluation; by default beside the table.
    file : path, optional
        YAML with settings of the evaluation.
    overrides : sequence of str
        ``name=value`` each, over those of the file.
    """
    settings = load_settings(file, TableSettings, overrides)
    predictions, notes = read_predictions(table, settings.classes, settings.columns, settings.by)
    report = settings.report(notes)
    read_as = {"table": table.name, "classes": ", ".join(predictions.classes)}
    read_as |= {f"column {name}": column or "none" for name, column in settings.columns.items()}
    with stage("evaluate", len(steps(report))) as advance:
        return evaluate(
            predictions,
            folder or default_folder(table),
            report,
            facts={"inputs": read_as},
            progress=advance,
        )


def default_folder(table: Path) -> Path:
    """Return where the evaluation of a table is written: beside it, by its name.

    Examples
    --------
    >>> default_folder(Path("results/fold1.csv.gz")).as_posix()
    'results/fold1-evaluation'
    """
    return table.with_name(f"{stem(table)}-evaluation")


def folders_of(tables: Sequence[Path], output: Path | None) -> list[Path]:
    """Return a folder for the evaluation of each table: below ``output`` where there are several.

    Raises
    ------
    InputError
        Two tables would be evaluated in one folder.
    """
    folders = [default_folder(table) for table in tables]
    if output is not None:
        folders = [output / stem(table) for table in tables] if len(tables) > 1 else [output]
    for folder, table in zip(folders, tables, strict=True):
        if folders.count(folder) > 1:
            raise InputError(
                f"another table would be evaluated in {folder} too",
                file=table,
                remedy="Rename one of the tables, or evaluate each by itself with a folder of its own",
                code="one_folder_for_two",
            )
    return folders


def stem(table: Path) -> str:
    """Return the name of a table without what says how it is written.

    Examples
    --------
    >>> stem(Path("results/fold1.csv.gz"))
    'fold1'
    """
    suffix = next((end for end in SUFFIXES if table.name.lower().endswith(end)), table.suffix)
    return table.name[: len(table.name) - len(suffix)] or table.name


def track_table(made: Evaluation, name: str, uri: str, experiment: str) -> str:
    """Log the evaluation of a table to MLflow; return the MLflow run's identifier."""
    evaluated = read_evaluation(made.folder)
    record, cohort = dict(evaluated.facts), evaluated.table("cohort")
    digest = str(next(iter(record["inputs"].values()))).removeprefix("sha256 ")
    told = Told(
        primary=str(record.get("primary_metric") or ""),
        points=evaluated.table("operating_points"),
        findings=summary_words(evaluated),
        pages=f"The whole report: artifacts, `{made.folder.name}/report.html`.",
        parts=[] if cohort is None else parts_of_cohort(cohort, digest),
    )
    return log_run(
        uri,
        experiment,
        name,
        job_key=made.key,
        params=record["settings"],
        tags={f"input.{name}": str(text) for name, text in record["inputs"].items()},
        per_site=made.per_site,
        told=told,
        artifacts=[made.folder],
    )


def as_overrides(columns: Sequence[str], classes: str | None) -> list[str]:
    """Return ``--column NAME=COLUMN`` and ``--classes A,B`` as settings.

    Raises
    ------
    InputError
        A column is not given as ``NAME=COLUMN``.

    Examples
    --------
    >>> as_overrides(["site=my hospital"], "no,yes")
    ['columns.site="my hospital"', 'classes=["no", "yes"]']
    """
    found = []
    for text in columns:
        name, sign, column = text.partition("=")
        if not sign or not name.strip():
            raise InputError(
                f"--column {text} does not say which column is what",
                remedy="Write --column site=HOSPITAL, with your table's name on the right",
                code="unclear_columns",
            )
        found.append(f"columns.{name.strip()}={json.dumps(column) if column else 'null'}")
    if classes is not None:
        found.append(f"classes={json.dumps([name.strip() for name in classes.split(',')])}")
    return found


def write_example(file: Path) -> Path:
    """Write a table of predictions to start from.

    Raises
    ------
    InputError
        The name does not end in ``.csv``, or something stands there that offsite did not write.
    """
    if not file.name.lower().endswith(".csv"):
        raise InputError("the example is a CSV", file=file, remedy="Let the name end in .csv")
    write_own(file, example_predictions().to_csv(index=False))
    return file
