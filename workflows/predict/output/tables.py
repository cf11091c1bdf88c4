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
MOST_WORDS = 3
"""Words that are named as what an answer rests on."""
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


def columns_of(classes: Sequence[str], words: int = 0) -> tuple[str, ...]:
    """Return the columns of ``results.csv`` in order; docs/predict.md explains each.

    ``words`` is how many the model tells its answers in.
    """
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
        *(f"share_{word:02d}" for word in range(1, words + 1)),
        *(("rests_on",) if words else ()),
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
    words: Sequence[str] = (),
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
    words : sequence of str
        Names of the words that the model tells its answers in.
    """
    columns = columns_of(classes, len(words))
    with (
        replacing(folder / RESULTS) as table,
        replacing(folder / LINES) as lines,
        lines.open("w", encoding="utf-8") as plain,
    ):
        _write_csv(table, columns, _rows(records, columns, classes, model, words, plain))


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
    words: Sequence[str],
    lines: TextIO,
) -> Iterator[list[Any]]:
    """The rows of the table; on the way each record is written as a line of JSON."""
    for record in records:
        told = columns_in_words(record, words)
        row = {**_flat(record, classes), **told, **model, "notice": NOTICE}
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


def columns_in_words(record: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the share of each word, and the words that the answer rests on, the first one most.

    Examples
    --------
    >>> told = {"words": {"shares": [0.75, 0.25, 0.0], "falls": [-0.2, 1.5, None]}}
    >>> columns_in_words(told, ["", "glands", ""])
    {'share_01': 0.75, 'share_02': 0.25, 'share_03': 0.0, 'rests_on': '02 glands +1.50'}
    """
    told = record.get("words")
    if not told or not words:
        return {}
    shares = {f"share_{number:02d}": share for number, share in enumerate(told["shares"], 1)}
    falls = [(fall, number) for number, fall in enumerate(told["falls"], 1) if rests_on(fall)]
    shown = [
        f"{word_name(number, words)} {fall:+.2f}"
        for fall, number in sorted(falls, key=lambda pair: (-pair[0], pair[1]))[:MOST_WORDS]
    ]
    return shares | {"rests_on": "; ".join(shown)}


def rests_on(fall: float | None) -> bool:
    """Whether an answer rests on a word at all, as it is shown (two digits)."""
    return fall is not None and fall >= 0.005


def word_name(number: int, words: Sequence[str]) -> str:
    """Return what a word is called, its number first."""
    return f"{number:02d} {words[number - 1]}".strip()


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
