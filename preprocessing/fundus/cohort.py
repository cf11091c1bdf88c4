"""Prepare all photographs of a cohort: cached, resumable, every one accounted for."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.files import (
    file_digest,
    fingerprint,
    in_the_way,
    is_plain_file,
    read_json,
    write_bytes,
    write_json,
)
from offsite.ownership import refuse_link
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import read_photograph
from offsite.written import check_own, replacing_own, write_own_json

VERSION = 6
"""Goes up when the same photograph and settings would give another picture."""

TABLE, SETTINGS = "prepared.csv", "prepared.json"
_KEPT = ("image", "slide", "patient", "site", "label")


def prepare_cohort(
    cohort: Cohort,
    out: str | Path,
    settings: FundusSettings,
    *,
    workers: int | None = None,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Prepare every photograph; what is there and still valid is kept.

    A photograph is redone when its content, the settings or the code version changed, or when the
    prepared picture is damaged. One that cannot be read, or shows no field of view, becomes a row
    with its status and the rest goes on.

    Parameters
    ----------
    cohort : Cohort
        The photographs.
    out : path
        Gets ``images/<slide>.png`` with ``images/<slide>.json`` beside each, and ``prepared.csv``.
    workers : int, optional
        Threads; one per core by default.
    part : (int, int), optional
        (k, n): only every n-th photograph from the k-th on, k from 1. The table of a part is
        returned and not written; a later call without ``part`` gathers all.
    progress : callable, optional
        Called with (done, all) after each photograph.

    Returns
    -------
    pandas.DataFrame
        A row per photograph in the cohort's order: ``image, slide, patient, site, label``,
        ``status`` (``ok``, ``failed``), ``code``, ``message``, ``file`` (relative to ``out``),
        ``gradable, score, reasons``, ``method, coverage, warnings``, ``width, height`` (px of the
        photograph), ``fingerprint``, ``prepared_digest``.
    """
    root = Path(out)
    refuse_link(root)
    refuse_link(root / "images")
    (root / "images").mkdir(parents=True, exist_ok=True)
    number, count = part
    if not 1 <= number <= count:
        raise InputError(
            f"part {number} of {count} does not exist", remedy="Count parts from 1", code="part"
        )
    for name in (TABLE, SETTINGS):  # said before hours of work, not after
        check_own(root / name)
    table = cohort.table.iloc[number - 1 :: count]
    sources = [cohort.path.parent / image for image in table["image"]]
    digest = settings.digest()
    records: list[dict[str, Any]] = []
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        jobs = pool.map(
            lambda pair: _prepare_one(pair[0], root, pair[1], settings, digest),
            zip(sources, table["slide"], strict=True),
        )
        for done, record in enumerate(jobs, start=1):
            records.append(record)
            if progress is not None:
                progress(done, len(table))
    rows = [_row(record) for record in records]
    prepared = pd.concat([table[list(_KEPT)].reset_index(drop=True), pd.DataFrame(rows)], axis=1)
    if count == 1:
        _drop_others(root, set(table["slide"]))
        with replacing_own(root / TABLE) as temporary:
            prepared.to_csv(temporary, index=False, lineterminator="\n")
        facts = {"settings": settings.model_dump(), "version": VERSION}
        write_own_json(root / SETTINGS, facts)
    return prepared


def read_prepared(folder: str | Path) -> tuple[pd.DataFrame, FundusSettings]:
    """Return ``prepared.csv`` (types restored) and the settings that made it.

    Raises
    ------
    InputError
        Code ``not_prepared``: the folder holds no prepared cohort.
    """
    root = Path(folder)
    if not (root / TABLE).is_file() or not (root / SETTINGS).is_file():
        raise InputError(
            "no prepared photographs here",
            file=root,
            code="not_prepared",
            remedy="Prepare the cohort first (offsite workflow prepare)",
        )
    text = [*_KEPT, "status", "code", "message", "file", "reasons", "warnings", "method"]
    table = pd.read_csv(
        root / TABLE,
        dtype=dict.fromkeys([*text, "fingerprint", "prepared_digest"], str),
        keep_default_na=False,
        na_values={"score": [""], "coverage": [""]},
    )
    table["gradable"] = table["gradable"].astype(str) == "True"
    return table, FundusSettings(**read_json(root / SETTINGS)["settings"])


def _prepare_one(
    source: Path, root: Path, slide: str, settings: FundusSettings, digest: str
) -> dict[str, Any]:
    picture = root / "images" / f"{slide}.png"
    sidecar = root / "images" / f"{slide}.json"
    made_from: dict[str, Any] = {"settings": digest, "version": VERSION}
    try:
        made_from["fingerprint"] = fingerprint(source)
    except OSError:
        made_from["fingerprint"] = ""
    old = _valid(sidecar, picture, made_from)
    if old is not None:
        return old
    try:
        _remove_ours(sidecar, picture)
    except InputError as error:
        return {**made_from, **_failed(error)}
    record, content = _prepared(source, picture, settings)
    record = {**made_from, **record}
    write_json(sidecar, record)  # first: a picture that no sidecar names is not ours
    if content:
        write_bytes(picture, content)
    return record


def _remove_ours(sidecar: Path, picture: Path) -> None:
    """Remove a picture that its sidecar names; something else of that name is refused."""
    record = _sidecar(sidecar)
    if record is None and (sidecar.exists() or sidecar.is_symlink()):
        raise in_the_way(sidecar)
    if not picture.exists() and not picture.is_symlink():
        return
    if record is None or record["status"] != "ok" or not is_plain_file(picture):
        raise in_the_way(picture)
    if file_digest(picture) != record["prepared_digest"] and _is_png(picture):
        raise in_the_way(picture)  # what is no picture any more is a damaged one of ours
    picture.unlink(missing_ok=True)


def _sidecar(file: Path) -> dict[str, Any] | None:
    """What offsite wrote beside a picture, or None where it wrote nothing."""
    try:
        record = read_json(file) if is_plain_file(file) else None
    except (OSError, ValueError):
        return None
    named = {"settings", "version", "fingerprint", "status"}
    return record if isinstance(record, dict) and named <= record.keys() else None


def _is_png(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(8) == b"\x89PNG\r\n\x1a\n"


def _failed(error: InputError) -> dict[str, Any]:
    return {
        "status": "failed",
        "code": error.code,
        "message": f"{error.problem}. {error.remedy}",
    }


def _valid(sidecar: Path, picture: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    try:
        record = read_json(sidecar)
        if any(record[name] != value for name, value in made_from.items()):
            return None
        if record["status"] == "ok" and file_digest(picture) != record["prepared_digest"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(record)


def _prepared(
    source: Path, picture: Path, settings: FundusSettings
) -> tuple[dict[str, Any], bytes]:
    """What the sidecar says, and the picture as PNG; none where it failed."""
    try:
        photograph = read_photograph(source, settings.px)
        prepared = prepare_photograph(photograph.pixels, settings)
    except InputError as error:
        return _failed(error), b""
    done, data = cv2.imencode(
        ".png", cv2.cvtColor(prepared.pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1]
    )
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG")
    content = bytes(data)
    record = {
        "status": "ok",
        "code": "",
        "message": "",
        "file": f"images/{picture.name}",
        "gradable": prepared.quality.gradable,
        "score": prepared.quality.score,
        "reasons": list(prepared.quality.reasons),
        "measures": prepared.quality.measures,
        "method": prepared.field.method,
        "coverage": round(prepared.field.coverage, 4),
        "warnings": list(prepared.warnings),
        "width": photograph.width,
        "height": photograph.height,
        "prepared_digest": hashlib.sha256(content).hexdigest(),
    }
    return record, content


def _row(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": record["status"],
        "code": record["code"],
        "message": record["message"],
        "file": record.get("file", ""),
        "gradable": record.get("gradable", False),
        "score": record.get("score", np.nan),
        "reasons": " ".join(record.get("reasons", [])),
        "method": record.get("method", ""),
        "coverage": record.get("coverage", np.nan),
        "warnings": " ".join(record.get("warnings", [])),
        "width": record.get("width", 0),
        "height": record.get("height", 0),
        "fingerprint": record["fingerprint"],
        "prepared_digest": record.get("prepared_digest", ""),
    }


def _drop_others(root: Path, slides: set[str]) -> None:
    """Remove what earlier calls prepared for photographs that left the cohort."""
    for sidecar in sorted((root / "images").glob("*.json")):
        if sidecar.stem not in slides and _sidecar(sidecar) is not None:
            with contextlib.suppress(InputError):  # it was changed by others: it stays
                _remove_ours(sidecar, sidecar.with_suffix(".png"))
                sidecar.unlink(missing_ok=True)
