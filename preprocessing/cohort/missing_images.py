"""Images that are not where the table says, and what they are called there instead."""

import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.tables.faults import faults_at

_CLOSED = (
    "permission_denied",
    "you may not look for '{}'",
    "Get the right to read its folder, or name another place",
)
_Listing = Callable[[Path], dict[str, str]]


def missing_images(table: pd.DataFrame, file: Path) -> list[InputError]:
    """Return a fault for each row whose image does not exist.

    The code is ``backslashes``, ``other_case`` (``a.JPG`` for ``a.jpg``) or ``other_letters`` (an
    accented letter composed or decomposed) where such an image is there, ``permission_denied``
    where one may not look, else ``no_such_image``.
    """
    listing = cache(_listing)
    faults: list[InputError] = []
    for row, image in enumerate(table["image"]):
        if not image or _exists(file.parent / image):
            continue
        if _is_closed(file.parent / image):
            code, problem, remedy = _CLOSED
        else:
            code, problem, remedy = _reason(file.parent, image, listing)
        faults += faults_at([row], file, "image", problem, remedy, table, code)
    return faults


def _is_closed(path: Path) -> bool:
    """Whether it is a matter of rights that a file is not seen."""
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a name can be, or not to be looked at
        return False


def _reason(root: Path, image: str, listing: _Listing) -> tuple[str, str, str]:
    slashes = image.replace("\\", "/")
    there = _similar(root, slashes, listing)
    if there is None:
        remedy = "Paths are relative to the table's folder"
        return "no_such_image", "no such file '{}'", remedy
    if slashes != image:
        return "backslashes", "'{}' is written with backslashes", f"Write {there}"
    if _composed(there) == _composed(image):
        what = "an accented letter is stored in another way in the file's name than in '{}'"
        return "other_letters", what, "Copy the name from the folder, or rename the file"
    return "other_case", "no such file '{}' in this case of letters", f"The file is {there}"


def _similar(root: Path, image: str, listing: _Listing) -> str | None:
    """The path of a file that differs in case or in the make of letters, relative to ``root``."""
    folder = root
    parts: list[str] = []
    for part in Path(image).parts:
        name = part if _exists(folder / part) else listing(folder).get(_key(part))
        if name is None:
            return None
        folder, parts = folder / name, [*parts, name]
    return str(Path(*parts)) if parts else None


def _listing(folder: Path) -> dict[str, str]:
    try:
        return {_key(entry.name): entry.name for entry in sorted(folder.iterdir())}
    except OSError:
        return {}


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _key(name: str) -> str:
    return _composed(_composed(name).casefold())
