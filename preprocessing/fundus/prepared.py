"""One photograph prepared, with the record beside it of what it was made from."""

import hashlib
from pathlib import Path
from typing import Any

import cv2

from offsite.errors import InputError
from offsite.files import (
    file_digest,
    fingerprint,
    in_the_way,
    is_plain_file,
    is_sampled,
    read_json,
    state_of,
    write_bytes,
    write_json,
)
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import read_photograph

VERSION = 6
"""Goes up when the same photograph and settings would give another picture."""


def fingerprint_of(source: Path) -> str:
    """Return the fingerprint of a photograph; "" where it cannot be read."""
    try:
        return fingerprint(source)
    except OSError:
        return ""


def prepare_one(
    source: Path, root: Path, slide: str, settings: FundusSettings, digest: str
) -> dict[str, Any]:
    """Return the record of a prepared photograph: what is there and still true, or made now."""
    picture = root / "images" / f"{slide}.png"
    sidecar = root / "images" / f"{slide}.json"
    made_from: dict[str, Any] = {"settings": digest, "version": VERSION}
    made_from["fingerprint"] = fingerprint_of(source)
    old = _valid(sidecar, picture, made_from)
    if old is not None:
        return old
    try:
        remove_ours(sidecar, picture)
    except InputError as error:
        return {**made_from, **_failed(error)}
    state = state_of([source])
    record, content = _prepared(source, picture, settings)
    decoded = record.pop("decoded", "")
    record = {**made_from, **record}
    if decoded and not is_sampled(source):  # these very bytes, whatever lay there before
        record["fingerprint"] = decoded
    elif state_of([source]) != state:
        record["fingerprint"] = ""  # then the next call reads it again
    write_json(sidecar, record)  # first: a picture that no sidecar names is not ours
    if content:
        write_bytes(picture, content)
    return record


def remove_ours(sidecar: Path, picture: Path) -> None:
    """Remove a picture that its sidecar names; something else of that name is refused."""
    record = sidecar_of(sidecar)
    if record is None and (sidecar.exists() or sidecar.is_symlink()):
        raise in_the_way(sidecar)
    if not picture.exists() and not picture.is_symlink():
        return
    if record is None or record["status"] != "ok" or not is_plain_file(picture):
        raise in_the_way(picture)
    if file_digest(picture) != record["prepared_digest"] and _is_png(picture):
        raise in_the_way(picture)  # what is no picture any more is a damaged one of ours
    picture.unlink(missing_ok=True)


def sidecar_of(file: Path) -> dict[str, Any] | None:
    """Return what offsite wrote beside a picture, or None where it wrote nothing."""
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
        "decoded": photograph.sha256,
    }
    return record, content
