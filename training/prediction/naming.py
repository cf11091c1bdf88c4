"""Names of inputs: as they are shown, and as folders of the output."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path


def shown(path: Path) -> str:
    """Return a path as text that can be printed and written as UTF-8."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def case_name(path: Path) -> str:
    """Return a folder name for an input: readable, unique, and unable to leave the output.

    >>> case_name(Path("/data/../=cmd|x.png"))[:6]
    'cmd_x-'
    """
    absolute = os.path.abspath(path)  # noqa: PTH100
    digest = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:12]
    plain = unicodedata.normalize("NFKD", shown(Path(Path(absolute).stem)))
    text = re.sub(r"[^A-Za-z0-9]+", "_", plain.encode("ascii", "ignore").decode()).strip("_")
    return f"{text[:40] or 'case'}-{digest}"
