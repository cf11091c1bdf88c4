"""Prepare all photographs of a cohort: cached, resumable, every one accounted for."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place, threads_at
from offsite.errors import InputError
from offsite.files import read_json
from offsite.ownership import refuse_link
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.fundus.prepared import (
    VERSION as VERSION,
)
from offsite.preprocessing.fundus.prepared import (
    fingerprint_of,
    prepare_one,
    remove_ours,
    sidecar_of,
)
from offsite.written import check_own, replacing_own, write_own_json

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
    place: Place = HERE,
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
        Photographs at a time; one per core by default.
    place : Place
        Where photographs are opened: children end with one that crashes or never ends, and the
        others go on.
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
    with threads_at(place, workers or os.cpu_count() or 1) as pool:
        jobs = pool.map(
            lambda pair: _prepare_at(place, pair[0], root, pair[1], settings, digest),
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


def _prepare_at(
    place: Place, source: Path, root: Path, slide: str, settings: FundusSettings, digest: str
) -> dict[str, Any]:
    """Prepare one photograph; one that ended its child has no sidecar, and is tried again."""
    try:
        return place.call(prepare_one, source, root, slide, settings, digest)
    except ChildEnded as error:
        return {
            "fingerprint": fingerprint_of(source),
            "status": "failed",
            "code": error.code,
            "message": error.message,
        }


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
        if sidecar.stem not in slides and sidecar_of(sidecar) is not None:
            with contextlib.suppress(InputError):  # it was changed by others: it stays
                remove_ours(sidecar, sidecar.with_suffix(".png"))
                sidecar.unlink(missing_ok=True)
