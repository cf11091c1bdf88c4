"""Write ``index.html``, a page for each case, and the few files they share."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files as resources
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from offsite.training.prediction.codes import MEANING, NOTICE, Code, Decision
from offsite.workflows.jobs.modalities import modality_reading
from offsite.workflows.package.schema import ModelRecord
from offsite.workflows.predict.pages.putting import put
from offsite.workflows.predict.pages.wording import (
    LABELS,
    decision_words,
    fact_rows,
    known_at,
    profile_text,
    quality_text,
    set_text,
    unlikeness,
    word_rows,
)

ASSETS = ("style.css", "worklist.js", "case.js")
_HERE = "offsite.workflows.predict.pages"
_WRITERS, _CHUNK = 4, 256


@dataclass(frozen=True, kw_only=True)
class PageModel:
    """What the pages say of the model."""

    record: ModelRecord
    sha256: str
    software: str
    left_out: str = ""

    def words(self) -> dict[str, str]:
        """Return its name, version, target, hash and software by name."""
        return {
            "name": self.record.name,
            "version": self.record.version,
            "target": self.record.target,
            "sha256": self.sha256,
            "software": self.software,
        }


def write_worklist(
    records: Iterable[Mapping[str, Any]],
    patients: Sequence[Mapping[str, Any]],
    output: Path,
    model: PageModel,
    finished: str = "",
) -> list[str]:
    """Write ``index.html`` with its assets; returns the cases, the most pressing first."""
    rows = [_row(record) for record in records]
    sites = sorted({row["site"] for row in rows})
    data = {
        "decisions": decision_words(),
        "sites": sites,
        "cases": rows,
        "patients": [{**row, "case": row["worst_case"]} for row in patients],
    }
    text = _template("worklist.html").render(
        total=len(rows),
        notice=NOTICE,
        model=model.words(),
        finished=finished,
        warnings=_warnings(rows, sites, model.record),
        patients=bool(patients),
        left_out=model.left_out,
        data=_inline(data),
    )
    for name in ASSETS:
        put(output, f"assets/{name}", (resources(_HERE) / name).read_text(encoding="utf-8"))
    put(output, "index.html", text)
    rows.sort(key=lambda row: (row["rank"], -(row["p"] if row["p"] is not None else -1)))
    return [row["case"] for row in rows]


def write_cases(
    records: Iterable[Mapping[str, Any]], order: Sequence[str], output: Path, model: PageModel
) -> None:
    """Write the page of every case that has a folder; only pages that changed are touched."""
    positions = {case: number for number, case in enumerate(order)}
    template = _template("case.html")
    rules = model.record.decision
    common = {
        "notice": NOTICE,
        "model": model.words(),
        "total": len(order),
        "positive": ", ".join(rules.positive),
        "urgent": ", ".join(rules.urgent),
        "ood_limit": rules.ood_percentile,
        "overlay": vars(modality_reading(model.record.task).overlay),
    }
    known: dict[str, Any] = {}

    def write(record: Mapping[str, Any]) -> None:
        folder = output / "cases" / record["case"]
        if not folder.is_dir():
            return
        position, site = positions[record["case"]], record["site"]
        if site not in known:
            known[site] = known_at(site, model.record)
        text = template.render(
            **common,
            **_case_words(record, model),
            known=known[site],
            position=position + 1,
            previous=order[position - 1] if position else "",
            next=order[position + 1] if position + 1 < len(order) else "",
        )
        put(output, f"cases/{record['case']}/index.html", text)

    # Making a file takes the system longer than its text takes us.
    with ThreadPoolExecutor(_WRITERS) as pool:
        remaining = iter(records)
        while chunk := list(islice(remaining, _CHUNK)):
            list(pool.map(write, chunk))


def _template(name: str) -> Template:
    source = (resources(_HERE) / name).read_text(encoding="utf-8")
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)


def _inline(data: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (every character that could be markup is escaped above)


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": record["case"],
        "number": record["number"],
        "name": os.path.basename(record["input"]),  # noqa: PTH119 (text, not a path of here)
        "patient": record["patient"],
        "eye": record["eye"],
        "site": record["site"],
        "status": record["status"],
        "code": record["code"],
        "decision": record["decision"],
        "rank": Decision(record["decision"]).rank,
        "reasons": record["reasons"],
        "prediction": record.get("prediction", ""),
        "p": record["referable_probability"],
        "t": record.get("referable_threshold"),
        "ood": unlikeness(record),
        "thumb": record["files"].get("thumbnail", ""),
        "copy": record["duplicate_of"],
    }


def _warnings(
    rows: Sequence[Mapping[str, Any]], sites: Sequence[str], model: ModelRecord
) -> list[str]:
    warnings = []
    unknown = [site or "no site given" for site in sites if site not in model.profiles]
    if rows and unknown:
        warnings.append(
            f"Not locally calibrated: {', '.join(unknown[:8])}"
            + (" and others" if len(unknown) > 8 else "")
            + ". How often the model misses disease there is unknown."
        )
    failed = sum(row["status"] == "error" for row in rows)
    if failed:
        warnings.append(f"{failed} of {len(rows)} cases have no answer because they failed.")
    pending = sum(row["status"] == "pending" for row in rows)
    if pending:
        warnings.append(
            f"{pending} of {len(rows)} cases are not read yet: run the same command again."
        )
    return warnings


def _case_words(record: Mapping[str, Any], model: PageModel) -> dict[str, Any]:
    label, mark = LABELS[Decision(record["decision"])]
    files = record["files"]
    shown = {"image", "thumbnail", "overlay"}
    return {
        "record": {"probabilities": None, "quality_reasons": [], **record},
        "title": os.path.basename(record["input"]),  # noqa: PTH119
        "decision": {"label": label, "mark": mark},
        "meaning": MEANING[Code(record["code"])],
        "files": {kind: files.get(kind) for kind in ("image", "overlay")},
        "downloads": [(k, name) for k, name in files.items() if k not in shown]
        + [("case.json", "case.json")],
        "sets": {level: set_text(record.get(f"set_{level}")) for level in (90, 95)},
        "quality": quality_text(record),
        "unlike": unlikeness(record),
        "profile": profile_text(record, model.record),
        "facts": fact_rows(record),
        "words": word_rows(record, model.record.words.names if model.record.words else ()),
        "words_kept": model.record.words.kept if model.record.words else 0.0,
    }
