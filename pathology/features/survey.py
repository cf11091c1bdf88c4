"""A row for every slide of a job whose features another tool made: what its file is, or why it is none."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place
from offsite.errors import InputError
from offsite.ownership import refuse_link
from offsite.pathology.features.embedding import EMBEDDED, FAILED, TABLE
from offsite.pathology.features.external import look_through
from offsite.pathology.features.folders import read_any, read_header
from offsite.pathology.features.source import FeatureSource
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.steps import part_table
from offsite.written import check_own, replacing_own

Row = dict[str, Any]


def survey_features(
    cohort: Cohort,
    source: FeatureSource,
    *,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[Row], None] | None = None,
    place: Place = HERE,
) -> pd.DataFrame:
    """Read the feature file of every slide of a cohort to its end; nothing is written beside them.

    Parameters
    ----------
    source : FeatureSource
        With an encoder.
    workers, part, progress, place
        As for `offsite.pathology.features.embedding.embed_cohort`.

    Returns
    -------
    pandas.DataFrame
        The columns of `offsite.pathology.features.embedding.embed_cohort`, then ``layout`` and ``file``. Also written
        to ``features.csv`` of the job's own folder.

    Raises
    ------
    InputError
        As `offsite.pathology.features.external.look_through`.
    """
    assert source.encoder is not None
    encoder = source.encoder
    refuse_link(source.own)
    out = source.own / part_table(TABLE, part)
    check_own(out)
    looked = look_through(source.folder, cohort.table["slide"], encoder)
    table = cohort.table.iloc[part[0] - 1 :: part[1]]

    def survey(slide: str) -> Row:
        row = _row(slide, looked.kind.dimensions, encoder.label)
        if slide in looked.faults:
            code, message = looked.faults[slide]
            row |= {"code": code, "message": message}
        else:
            row |= _read(looked.files[slide], place)
        if progress is not None:
            progress(row)
        return row

    with ThreadPoolExecutor(workers) as pool:
        rows = pd.DataFrame(list(pool.map(survey, table["slide"])))
    rows.insert(1, "image", table["image"].to_numpy())
    rows.insert(2, "site", table["site"].to_numpy())
    with replacing_own(out) as temporary:
        rows.to_csv(temporary, index=False, lineterminator="\n")
    return rows


def _row(slide: str, dimensions: int, label: str) -> Row:
    return {
        "slide": slide,
        "status": FAILED,
        "code": "",
        "message": "",
        "tiles": 0,
        "unreadable": 0,
        "dimensions": dimensions,
        "encoder": label,
        "layout": "",
        "file": "",
    }


def _read(path: Path, place: Place) -> Row:
    row: Row = {"file": path.name}
    try:
        layout, tiles = place.call(_facts, path)
    except InputError as error:
        return row | {"code": error.code, "message": f"{error.problem}. {error.remedy}"}
    except ChildEnded as error:
        return row | {"code": error.code, "message": error.message}
    return row | {"status": EMBEDDED, "layout": layout, "tiles": tiles}


def _facts(path: Path) -> tuple[str, int]:
    """The layout of a file, and its tiles, all of them read."""
    return read_header(path).layout, len(read_any(path).features)
