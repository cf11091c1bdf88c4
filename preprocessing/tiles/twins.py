"""Tiles at the same physical places of twins: one tissue, shown by several sites.

Scanners differ in um per px, so the grids of two twins drift apart; their own tiles cannot be
compared one by one. Here the places of one slide are carried over to the others in um.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.tiles.table import (
    KEPT,
    SlideRecord,
    SlideTiles,
    load_tiles,
    save_tiles,
    tiles_digest,
)

COLUMN = "twin"
"""The cohort's column that names the tissue."""


def match_twins(
    cohort: Cohort, tiles_folder: str | Path, out: str | Path, *, most: int = 64
) -> pd.DataFrame:
    """Write tiles of each slide at the places that are fit on every twin of its tissue.

    The twins must be in register: the same um from the corner of the scanned area is the same
    tissue, as in `offsite.preprocessing.synthetic.slides.cohort.make_twin_cohort`, or after registration.

    Parameters
    ----------
    cohort : Cohort
        With a column ``twin`` that names the tissue.
    tiles_folder, out : path
        Where `offsite.preprocessing.tiles.tiling.tile_cohort` wrote, and where the matched tiles go.
    most : int
        Most places of a tissue, spread evenly over those found.

    Returns
    -------
    pandas.DataFrame
        A row per slide: ``slide, twin, site, label, places`` and, where ``places`` is 0, ``reason``.

    Raises
    ------
    InputError
        There is no column ``twin``, a site shows a tissue twice, or no tissue is shown twice.
    """
    table = _checked(cohort)
    rows = []
    for _, group in table.groupby(COLUMN, sort=False):
        names = group["slide"].tolist()
        tiled: dict[str, SlideTiles] = {}
        reasons: dict[str, str] = {}
        for name in names:
            try:
                tiles = load_tiles(tiles_folder, name)
            except InputError as error:
                reasons[name] = error.problem
                continue
            if tiles.record.kept:
                tiled[name] = tiles
            else:
                reasons[name] = tiles.record.message
        matched = matched_tiles(list(tiled.values()), most) if len(tiled) > 1 else []
        for tiles in matched:
            save_tiles(out, tiles)
        counts = {tiles.record.slide: tiles.record.kept for tiles in matched}
        for name in names:
            why = "no place is fit on all twins" if len(tiled) > 1 else "no other twin has tiles"
            places = counts.get(name, 0)
            rows.append({"places": places, "reason": "" if places else reasons.get(name, why)})
    order = pd.concat([group for _, group in table.groupby(COLUMN, sort=False)])
    counted = pd.DataFrame(rows, index=order.index)
    return order[["slide", COLUMN, "site", "label"]].join(counted).sort_index()


def matched_tiles(slides: Sequence[SlideTiles], most: int) -> list[SlideTiles]:
    """Return tiles at the same places of each slide; row i is one place on all of them.

    The candidates are the kept tiles of the first slide. A place counts where, on every slide, it
    lies inside and in the cell of a kept tile.
    """
    places = _centres(slides[0])
    fit = np.ones(len(places), dtype=bool)
    for slide in slides:
        record = slide.record
        corners = _corners(places, record)
        size, left = _known(record.size), np.array(record.bounds_offset)
        end = np.array([_known(record.width), _known(record.height)])
        fit &= (corners >= left).all(axis=1) & (corners + size <= end).all(axis=1)
        reach = _known(record.stride) * _known(record.mpp) / 2
        distance, _ = cKDTree(_centres(slide)).query(places, p=np.inf)
        fit &= distance <= reach * (1 + 1e-9)
    kept = np.flatnonzero(fit)
    if len(kept) > most:
        kept = kept[np.linspace(0, len(kept) - 1, most).round().astype(int)]
    return [_at(slide.record, places[kept]) for slide in slides]


def _checked(cohort: Cohort) -> pd.DataFrame:
    if COLUMN not in cohort.table.columns:
        raise InputError(
            f"there is no column '{COLUMN}'",
            file=cohort.path,
            code="no_twins",
            remedy="Name in it the tissue that each slide shows",
        )
    table = cohort.table[cohort.table[COLUMN] != ""]
    if table.duplicated([COLUMN, "site"]).any():
        raise InputError(
            "a site shows a tissue twice",
            file=cohort.path,
            column=COLUMN,
            code="no_twins",
            remedy="Keep one slide for each tissue and site",
        )
    if not table.duplicated(COLUMN).any():
        raise InputError(
            "no tissue is shown by two sites",
            file=cohort.path,
            column=COLUMN,
            code="no_twins",
            remedy="Give twins the same name",
        )
    return table


def _centres(slide: SlideTiles) -> np.ndarray:
    """Centres of the kept tiles, um from the corner of the scanned area (N x 2)."""
    record = slide.record
    corners = slide.kept_places() - np.array(record.bounds_offset)
    return np.asarray((corners + _known(record.size) / 2) * _known(record.mpp))


def _corners(centres: np.ndarray, record: SlideRecord) -> np.ndarray:
    """Level-0 px of the top left corners of tiles at these centres (N x 2, int64)."""
    corners = centres / _known(record.mpp) - _known(record.size) / 2
    return (np.rint(corners) + np.array(record.bounds_offset)).astype(np.int64)


def _at(record: SlideRecord, places: np.ndarray) -> SlideTiles:
    corners = _corners(places, record)
    table = pd.DataFrame({"x": corners[:, 0], "y": corners[:, 1], "status": KEPT})
    changes = {"counts": {KEPT: len(table)}, "rates": {}, "tiles_digest": ""}
    moved = record.model_copy(update=changes)
    digest = {"tiles_digest": tiles_digest(table, moved)}
    return SlideTiles(table, moved.model_copy(update=digest))


def _known(value: float | None) -> float:
    assert value is not None, "a slide with tiles has a geometry"
    return value
