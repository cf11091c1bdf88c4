"""One call from predictions to the evaluation folder: every table, the figures, the report."""

import datetime
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.making import made_tables
from offsite.evaluation.metrics.catalogue import metric_names
from offsite.evaluation.metrics.names import described, no_metric
from offsite.evaluation.predictions.checks import check_rows
from offsite.evaluation.predictions.roles import FOLD, SLIDE_LABEL, folds_judged
from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.evaluation.report.page import write_report
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.statistics.measured import request_of
from offsite.evaluation.tables.reading import RECORD, damaged_table, read_table, write_table
from offsite.files import BOOKKEEPING, digest_of, file_digest, read_json, write_json
from offsite.locks import writing
from offsite.ownership import refuse_link, refuse_strangers, remove_named
from offsite.written import check_unchanged

_REPORT, _FIGURES = "report.html", "figures"
_EARLIER_TABLES = (
    "cohort", "per_site", "confusion", "meta", "shrunken", "operating_points", "net_benefit",
    "calibration", "reliability", "ood", "shift", "shift_details", "conformal", "selective",
    "risk_coverage", "cohort_flow", "quality",
)  # fmt: skip
_VERSIONS = ("offsite", "numpy", "pandas", "scipy", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A finished evaluation folder.

    Attributes
    ----------
    folder, report : pathlib.Path
        The folder, and the page in it.
    per_site : pandas.DataFrame
        The per-site table.
    key : str
        Digest of predictions and settings: the same key, the same numbers.
    """

    folder: Path
    report: Path
    per_site: pd.DataFrame
    key: str


def evaluate(
    predictions: Predictions | str | Path,
    out: str | Path,
    settings: ReportSettings | None = None,
    *,
    near: Predictions | None = None,
    far: Predictions | None = None,
    models: Mapping[int, Predictions] | None = None,
    facts: Mapping[str, Any] | None = None,
    extra_tables: Mapping[str, pd.DataFrame] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Measure a model at every site, and write the evaluation folder.

    Parameters
    ----------
    predictions : Predictions or path
        Predictions of all splits, a predictions file, or a run folder that holds one.
    out : path
        The evaluation folder. With the same predictions and settings it is left as it is;
        with others every table is made anew.
    settings : ReportSettings, optional
        What to measure and how.
    near, far : Predictions, optional
        The same model's predictions on images of another kind, and on images it was never meant
        for; a set per value of their ``site`` column.
    models : mapping of int to Predictions, optional
        Where the predictions join the folds of a cross-validation: all rows of each fold's model,
        with embeddings, by its number; 0 is the refit. Without them nothing is said of foreign
        images.
    facts : mapping, optional
        Further provenance for the page, JSON-able: ``inputs``, ``model``, ``seeds``.
    extra_tables : mapping of str to pandas.DataFrame, optional
        Tables made elsewhere: ``cohort_flow`` (``stage, site, outcome, reason, n``) and
        ``quality`` (``site, measure, rate, n``).
    progress : callable, optional
        Told the name of each of :func:`offsite.evaluation.making.steps` when it is done.

    Returns
    -------
    Evaluation
        The folder, its page and the per-site table.

    Raises
    ------
    InputError
        The predictions cannot be used (:func:`offsite.evaluation.predictions.checks.check_rows`), or a task does not
        fit the classes, or no metric has the name of the primary one.
    """
    settings = settings or ReportSettings()
    rows = predictions if isinstance(predictions, Predictions) else load_predictions(predictions)
    check_rows(rows)
    _check_primary(rows, settings)
    given = {name: table for name, table in (extra_tables or {}).items() if len(table)}
    folder = Path(out)
    version = importlib.metadata.version("offsite")
    more = dict(facts or {})
    foreign = [None if other is None else predictions_digest(other) for other in (near, far)]
    foreign += [predictions_digest(model) for _, model in sorted((models or {}).items())]
    texts = {name: table.to_csv(index=False).encode() for name, table in given.items()}
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    own = predictions_digest(rows, settings.by)
    key = digest_of([own, foreign, settings.digest(), version, more, digests])
    _check_ours(folder)  # before anything, a lock too, is put there
    with writing(folder):
        if not _finished(folder, key):
            _clear(folder)
            done = progress or (lambda _: None)
            made = made_tables(rows, settings, near, far, done, models) | given
            _write(folder, key, made, _merged(_record(predictions, rows, settings), more))
            done("page")
    return Evaluation(
        folder=folder,
        report=folder / "report.html",
        per_site=read_table(folder / "per_site.csv"),
        key=key,
    )


def _check_primary(rows: Predictions, settings: ReportSettings) -> None:
    """Refuse a primary metric that there is not, or not of these classes and tasks."""
    wanted = settings.primary_metric
    if not wanted:
        return
    described(wanted)  # refuses a name that no metric has
    known = metric_names(request_of(rows, settings.metrics))
    if wanted not in known:
        raise no_metric(f"'{wanted}' is not measured of these classes and tasks", wanted, known)


def predictions_digest(predictions: Predictions, by: Sequence[str] = ()) -> str:
    """SHA-256 (hex) over everything that evaluation reads of a predictions table."""
    digest = hashlib.sha256("\x1f".join(predictions.classes).encode())
    read = ("image", "patient", "site", "site_role", "split", "label", SLIDE_LABEL, FOLD, *by)
    columns = [name for name in read if name in predictions.table]
    digest.update(predictions.table[columns].to_csv(index=False).encode())
    for array in (predictions.probabilities, predictions.embeddings, predictions.logits):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _record(
    source: Predictions | str | Path, rows: Predictions, settings: ReportSettings
) -> dict[str, Any]:
    named, folds = "predictions", folds_judged(rows.table)
    if not isinstance(source, Predictions):
        named = "predictions.parquet" if Path(source).is_dir() else Path(source).name
    return {
        "title": settings.title,
        "primary_metric": settings.primary_metric,
        "classes": list(rows.classes),
        "limits": list(settings.limits),
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "inputs": {named: f"sha256 {predictions_digest(rows)}", "rows": len(rows)},
        "seeds": {"bootstrap": settings.metrics.seed},
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _VERSIONS},
        "settings": settings.model_dump(mode="json", exclude={"title", "limits"}),
        **({"folds": folds} if folds else {}),
    }


def _merged(record: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Further facts beside what stands there: ``seeds`` of the training join that of the draws."""
    both = {
        name: {**record[name], **value}
        for name, value in more.items()
        if isinstance(value, Mapping) and isinstance(record.get(name), dict)
    }
    return {**record, **more, **both}


def _finished(folder: Path, key: str) -> bool:
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    whole = (folder / "report.html").is_file() and (folder / "per_site.csv").is_file()
    same = record.get("status") == "done" and record.get("key") == key
    return whole and same and damaged_table(folder) is None


def _write(
    folder: Path, key: str, made: Mapping[str, pd.DataFrame], record: Mapping[str, Any]
) -> None:
    """Write tables and report; the record names them before they are there."""
    tables = {f"{name}.csv": table for name, table in made.items()}
    refuse_strangers(folder, (*tables, _REPORT))
    named = [*sorted(tables), _REPORT]
    write_json(folder / RECORD, {"status": "running", "key": key, "written": named})
    for name, table in tables.items():
        write_table(folder / name, table)
    others = set(_figures(folder))
    write_report(folder, record)
    named += sorted(set(_figures(folder)) - others)
    files = {name: file_digest(folder / name) for name in sorted(tables)}
    done = {"status": "done", "key": key, "written": named, "files": files}
    write_json(folder / RECORD, {**done, **record})


def _figures(folder: Path) -> list[str]:
    return [f"{_FIGURES}/{file.name}" for file in (folder / _FIGURES).glob("*.svg")]


def _check_ours(folder: Path) -> None:
    """Refuse a folder that holds other files, and no evaluation."""
    if not folder.is_dir() or (folder / RECORD).is_file():
        return
    if any(not file.name.startswith(BOOKKEEPING) for file in folder.iterdir()):
        raise InputError(
            "the folder holds other files, and no evaluation",
            file=folder,
            remedy="Name a new or empty folder for the evaluation",
            code="folder_in_use",
        )


def _clear(folder: Path) -> None:
    """Remove what an earlier evaluation wrote here by its record, and nothing else."""
    refuse_link(folder)
    refuse_link(folder / _FIGURES)
    _check_ours(folder)
    if not (folder / RECORD).is_file():
        return
    record = read_json(folder / RECORD)
    # Evaluations of earlier versions name their tables alone, and no file before they are done.
    tables = record.get("files") or [f"{name}.csv" for name in _EARLIER_TABLES]
    named = record.get("written") or [*tables, _REPORT, *_figures(folder)]
    for name in named:  # a page or figure that somebody wrote into is theirs now
        check_unchanged(folder / name)
    remove_named(folder, named)
