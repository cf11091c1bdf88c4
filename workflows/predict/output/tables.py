"""``results.csv``, ``results.jsonl`` and ``patients.csv``: one row per input, in their order."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from offsite.files import replacing
from offsite.training.prediction.codes import NOTICE, Code
from offsite.training.prediction.items import Item
from offsite.workflows.predict.output.case_files import CaseFiles
from offsite.workflows.predict.passage import unanswered

RESULTS, LINES, PATIENTS = "results.csv", "results.jsonl", "patients.csv"
# A spreadsheet takes a cell that begins so for a formula and runs it; one that is set to another
# separator begins a cell after that.
_FORMULA = re.compile(r"(^|[;,|\t\r\n])(\s*)(?=[=+\-@\t\r\n＝＋－＠])")
# What differs between two runs of the same thing, or is of no use outside.
# What a later look at a site needs of each image; docs/predict.md says where each comes from.
ACQUISITION = (
    "answered_at",
    "acquired",
    "scanner",
    "width",
    "height",
    "um_per_px",
    "compression",
)
_INTERNAL = frozenset({"key", "seconds", "detail", "limits", "logits", "written"})
_PATIENT_COLUMNS = (
    "patient",
    "site",
    "decision",
    "reason",
    "images",
    "answered",
    "without_answer",
    "copies",
    "worst_case",
)


def records_of(items: Iterable[Item], files: CaseFiles) -> Iterator[dict[str, Any]]:
    """Yield the record of each input from disk; one that this run has not reached is ``pending``.

    A record whose content came up before has ``duplicate_of``, the case it is a copy of.
    """
    first: dict[str, str] = {}
    for item in items:
        record = files.confirmed(item)
        if record is None:
            record = {
                "case": item.case,
                "input": item.name,
                "patient": item.patient,
                "site": item.site,
                "eye": item.eye,
                "input_sha256": "",
                "files": {},
                **unanswered(Code.NOT_REACHED, "the run was stopped before it"),
            }
        content = record["input_sha256"]
        original = first.setdefault(content, item.case) if content else item.case
        yield {
            "number": item.number,
            **record,
            "duplicate_of": "" if original == item.case else original,
        }


def columns_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of ``results.csv`` in order; docs/predict.md explains each."""
    return (
        "number",
        "case",
        "input",
        "patient",
        "eye",
        "site",
        "site_profile",
        "status",
        "code",
        "decision",
        "reasons",
        "prediction",
        *(f"prob_{name}" for name in classes),
        "calibrated",
        "referable",
        "referable_probability",
        "referable_threshold",
        "referable_threshold_origin",
        "urgent",
        "urgent_probability",
        "urgent_threshold",
        "urgent_threshold_origin",
        "set_90",
        "set_95",
        "ood_percentile",
        "trunk_percentile",
        "quality",
        "quality_score",
        "quality_reasons",
        "duplicate_of",
        "input_sha256",
        *ACQUISITION,
        "model",
        "model_version",
        "model_sha256",
        "notice",
    )


def write_tables(
    records: Iterable[Mapping[str, Any]],
    folder: Path,
    classes: Sequence[str],
    model: dict[str, str],
) -> None:
    """Write ``results.csv`` and ``results.jsonl``, each whole or not at all, in one pass.

    Parameters
    ----------
    records : iterable of mappings
        From :func:`records_of`.
    folder : Path
    classes : sequence of str
    model : dict of str to str
        ``model``, ``model_version`` and ``model_sha256`` of every row.
    """
    columns = columns_of(classes)
    with (
        replacing(folder / RESULTS) as table,
        replacing(folder / LINES) as lines,
        lines.open("w", encoding="utf-8") as plain,
    ):
        _write_csv(table, columns, _rows(records, columns, classes, model, plain))


def write_patients(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write ``patients.csv``; without any named patient there is none."""
    if not rows:
        (folder / PATIENTS).unlink(missing_ok=True)
        return
    with replacing(folder / PATIENTS) as path:
        _write_csv(
            path,
            (*_PATIENT_COLUMNS, "notice"),
            ([*(row[name] for name in _PATIENT_COLUMNS), NOTICE] for row in rows),
        )


def _rows(
    records: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    classes: Sequence[str],
    model: Mapping[str, str],
    lines: TextIO,
) -> Iterator[list[Any]]:
    """The rows of the table; on the way each record is written as a line of JSON."""
    for record in records:
        row = {**_flat(record, classes), **model, "notice": NOTICE}
        kept = {**_acquisition(record), **record}
        kept = {key: value for key, value in kept.items() if key not in _INTERNAL}
        lines.write(json.dumps({**kept, **model, "notice": NOTICE}, ensure_ascii=False) + "\n")
        yield [row.get(name) for name in columns]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    # The mark at the start makes spreadsheets read it as UTF-8.
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow([_cell(name) for name in columns])
        writer.writerows([_cell(value) for value in row] for row in rows)


def _flat(record: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    probabilities = record.get("probabilities") or {}
    shares = {f"prob_{name}": probabilities.get(name) for name in classes}
    # An empty set is an answer, and not the same as none.
    sets = {name: "(empty)" for name in ("set_90", "set_95") if record.get(name) == []}
    return {**_acquisition(record), **record, **shares, **sets}


def _acquisition(record: Mapping[str, Any]) -> dict[str, Any]:
    """How the image was made, as far as its facts say; records of earlier versions say less."""
    facts = record.get("facts") or {}
    known = {name: facts.get(name) for name in ACQUISITION}
    return {**known, "um_per_px": facts.get("mpp")}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        value = "; ".join(map(str, value))
    return _FORMULA.sub(r"\1\2'", str(value))
