"""The list as a table to send round, and as a page with pictures that asks the network for nothing."""

import base64
import contextlib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined

from offsite.errors import InputError
from offsite.files import is_plain_file
from offsite.ownership import refuse_link
from offsite.preprocessing.shrinking import halved, halvings
from offsite.training.prediction.codes import NOTICE
from offsite.workflows.doubts.finding import Doubts
from offsite.written import check_own, is_own, strike, write_own

FOLDER, TABLE, PAGE = "doubts", "doubts.csv", "doubts.html"
COLUMNS = ("rank", "image", "site", "label", "suggested", "decision", "note")
_THUMBNAIL_PX, _JPEG_QUALITY = 200, 80
# A spreadsheet takes a cell that begins so for a formula and runs it.
_FORMULA = re.compile(r"^(\s*)(?=[=+\-@\t\r\n＝＋－＠])")


def write_doubts(doubts: Doubts, folder: Path, *, title: str, most: int) -> Path:
    """Write ``doubts.csv`` and ``doubts.html`` with the first cases; return the page.

    Parameters
    ----------
    doubts : Doubts
    folder : path
        Made where it is missing.
    title : str
        Of the page.
    most : int
        Cases to show.

    Raises
    ------
    InputError
        Code ``not_ours``: a file of one of the names that offsite did not write, or one that was
        filled in since. Neither is written then.
    """
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = doubts.table.head(most)
    rows = first.assign(rank=range(1, len(first) + 1), decision="", note="")[list(COLUMNS)]
    text = rows.map(escaped).to_csv(index=False, lineterminator="\r\n")
    write_own(folder / TABLE, text.encode("utf-8-sig"))
    write_own(folder / PAGE, _page(doubts, first, title))
    return folder / PAGE


def check_free(folder: Path) -> None:
    """Refuse a folder in which a list was filled in, or something else stands in its place.

    Raises
    ------
    InputError
        Code ``not_ours``, or ``linked_folder``.
    """
    refuse_link(folder)
    for name in (TABLE, PAGE):
        check_own(folder / name)


def listed_doubts(output: Path) -> int:
    """Return how many cases a list below a job's output has; 0 where there is none as it was written."""
    file = output / FOLDER / TABLE
    if not is_plain_file(file) or not is_own(file):
        return 0
    return len(pd.read_csv(file, encoding="utf-8-sig"))


def drop_list(output: Path) -> None:
    """Remove a list below a job's output; one that was filled in stays."""
    for name in (TABLE, PAGE):
        with contextlib.suppress(InputError):
            strike(output / FOLDER / name)


def escaped(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula; `unescaped` takes it back."""
    return _FORMULA.sub(r"\1'", cell) if isinstance(cell, str) else cell


def unescaped(cell: str) -> str:
    """Return what `escaped` was given."""
    plain = cell.lstrip()
    return cell.replace("'", "", 1) if plain[:1] == "'" and escaped(plain[1:]) == plain else cell


def _page(doubts: Doubts, first: pd.DataFrame, title: str) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    here = files("offsite.workflows.doubts")
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    cases: list[dict[str, Any]] = []
    for number, given in enumerate(first.to_dict("records"), start=1):
        row: dict[str, Any] = {str(name): value for name, value in given.items()}
        picture = row["picture"]
        cases.append(
            {**row, "rank": number, "picture": None if picture is None else inline(picture)}
        )
    return template.render(
        title=title,
        notice=NOTICE,
        cases=cases,
        judged=len(doubts.table),
        unread=doubts.unread,
        rare=doubts.rare,
        expected=[(each.first, each.text()) for each in doubts.expected],
        table=TABLE,
    )


def inline(file: Path) -> str | None:
    """Return a picture as the address of a small JPEG, or None where it cannot be read."""
    data = np.frombuffer(file.read_bytes(), np.uint8) if file.is_file() else np.empty(0, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if pixels is None:
        return None
    pixels = halved(pixels, halvings(max(pixels.shape[:2]), 2 * _THUMBNAIL_PX))
    scale = min(_THUMBNAIL_PX / max(pixels.shape[:2]), 1.0)
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return (
        f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}" if done else None
    )
