"""Put a page where it belongs, unless something that offsite did not write stands there."""

import hashlib
import logging
import os
import re
from pathlib import Path

from offsite.files import is_plain_file
from offsite.training.prediction.codes import NOTICE

_LOG = logging.getLogger("offsite.predict")
_STAMP = re.compile(r"\n(?:<!--|/\*) offsite ([0-9a-f]{64}) (?:-->|\*/)\n\Z")


def put(output: Path, name: str, text: str) -> None:
    """Write a page of an output if its text changed; a page that somebody changed is named, and stays.

    So is a page whose folder below the output is a link: what is written through it lies elsewhere.

    The last line of a page is a comment with the digest of all before it, so that a page tells by
    itself whether it is as it was written. Pages can be made again: they are not synced to disk.
    """
    path = output / name
    linked = [folder for folder in path.parents if folder.is_symlink() and output in folder.parents]
    if linked:
        _LOG.warning("%s is a link; no page is written through it", linked[-1])
        return
    stamped = text + _stamp_of(path.suffix, text)
    present = path.is_symlink() or path.exists()
    if present:
        before = _read(path)
        if before == stamped:
            return
        if before is None or not _is_ours(before, path.suffix):
            _LOG.warning("%s is not as offsite wrote it; it stays, and may be out of date", path)
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(stamped, encoding="utf-8")
    temporary.replace(path)


def _stamp_of(suffix: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    begin, end = ("<!--", "-->") if suffix == ".html" else ("/*", "*/")
    return f"\n{begin} offsite {digest} {end}\n"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if is_plain_file(path) else None
    except (OSError, UnicodeDecodeError):
        return None


def _is_ours(text: str, suffix: str) -> bool:
    stamp = _STAMP.search(text)
    if stamp is None:  # earlier versions wrote pages with the notice and without a stamp
        return suffix == ".html" and NOTICE in text
    return hashlib.sha256(text[: stamp.start()].encode()).hexdigest() == stamp[1]
