"""Which tiles of an open slide are fit to be used, and why the others are not."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from preprocessing.errors import InputError
from preprocessing.quality import QualitySettings, fold_mask, pen_mask, tile_quality
from preprocessing.slides.geometry import TileGeometry
from preprocessing.slides.opening import Slide
from preprocessing.slides.overview import Overview, area_reduced, read_overview
from preprocessing.slides.region import UnreadableRegion
from preprocessing.tiles import KEPT, STATUSES, TileSettings
from preprocessing.tissue import tissue_mask, white_point

SHARES = ("tissue", "coverage", "pen", "fold", "dark", "pale")


@dataclass(frozen=True)
class SlideMasks:
    """What an overview shows (bool, H x W each), and the glass's grey values."""

    overview: Overview
    tissue: np.ndarray
    pen: np.ndarray
    fold: np.ndarray
    white: np.ndarray


def find_masks(slide: Slide, settings: TileSettings) -> SlideMasks:
    """Tissue (ink left out), pen and folds of a slide.

    Raises
    ------
    InputError
        ``unreadable_slide`` where nothing of it can be decoded.
    """
    overview = read_overview(slide, mpp=settings.tissue.mpp, max_px=settings.tissue.max_px)
    if overview.damaged.all():
        raise InputError(
            "no part of the slide can be decoded", code="unreadable_slide", file=slide.path,
            remedy="Fetch the file again from the archive or the scanner",
        )  # fmt: skip
    pixels, valid = overview.pixels, overview.valid
    white = white_point(pixels, valid)
    tissue = tissue_mask(pixels, valid, overview.mpp, settings.tissue)
    pen = pen_mask(pixels, white, settings.quality, mpp=overview.mpp)
    fold = fold_mask(pixels, white, tissue & ~pen, settings.quality, mpp=overview.mpp)
    return SlideMasks(overview, tissue, pen, fold, white)


def select_tiles(
    slide: Slide, masks: SlideMasks, geometry: TileGeometry, settings: TileSettings
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Judge every tile that holds enough tissue.

    Returns
    -------
    table : pandas.DataFrame
        As in ``preprocessing.tiles.SlideTiles``.
    counts : dict of str to int
        Every tile of the grid by status, ``background`` included.
    """
    step = masks.overview.step
    tissue = cell_means(masks.tissue | masks.overview.damaged, step, geometry)
    rows, columns = np.nonzero(tissue >= max(settings.min_tissue, 1e-6))
    x, y = geometry.origins()
    found = {"tissue": tissue} | {
        name: cell_means(mask, step, geometry)
        for name, mask in (("pen", masks.pen), ("fold", masks.fold))
    }
    columns_of = {name: share[rows, columns] for name, share in found.items()}
    read = np.full((len(rows), 4), np.nan)
    for number, (column, row) in enumerate(zip(columns, rows, strict=True)):
        read[number] = _read(slide, int(x[column]), int(y[row]), geometry, masks, settings)
    columns_of |= dict(zip(("coverage", "dark", "pale", "focus"), read.T, strict=True))
    table = pd.DataFrame({"x": x[columns], "y": y[rows]})
    for name in (*SHARES, "focus"):
        table[name] = columns_of[name].astype(np.float32)
    table["status"] = _statuses(columns_of, settings.quality)
    counts = {name: int((table["status"] == name).sum()) for name in STATUSES}
    return table, counts | {"background": tissue.size - len(table)}


def _read(
    slide: Slide, x: int, y: int, geometry: TileGeometry, masks: SlideMasks, settings: TileSettings
) -> tuple[float, float, float, float]:
    """Coverage, dark, pale and focus of a tile; NaN where it cannot be decoded."""
    left, top = geometry.to_level(x), geometry.to_level(y)
    try:
        region = slide.read_region(left, top, geometry.level, geometry.read_px, geometry.read_px)
    except UnreadableRegion:
        return (np.nan, np.nan, np.nan, np.nan)
    side = max(round(geometry.tile_px * geometry.actual_mpp / settings.quality.mpp), 2)
    small = area_reduced(region.pixels, (min(side, geometry.read_px),) * 2)
    quality = tile_quality(small, masks.white, settings.quality)
    return (1.0 if region.valid is None else float(region.valid.mean()), *quality)


def _statuses(columns: dict[str, np.ndarray], limits: QualitySettings) -> pd.Series:
    """The first reason that holds for each tile, in the order of ``STATUSES``."""
    reasons = {
        "unreadable": np.isnan(columns["coverage"]),
        "no_data": columns["coverage"] < limits.min_coverage,
        "pen": columns["pen"] > limits.max_pen,
        "fold": columns["fold"] > limits.max_fold,
        "dark": columns["dark"] > limits.max_dark,
        "pale": columns["pale"] > limits.max_pale,
        "blurred": columns["focus"] < limits.min_focus,
    }
    names = np.select(list(reasons.values()), list(reasons), default=KEPT)
    return pd.Series(names, dtype=str)


def cell_means(values: np.ndarray, step: float, geometry: TileGeometry) -> np.ndarray:
    """Mean of an overview's map over every tile (rows x columns), by an integral image.

    ``step`` is level-0 px per px of the map. Fractions of a map px at a tile's border count by
    their area, so the mean is exact.
    """
    integral = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=integral[1:, 1:])
    x, y = geometry.origins()
    band = _at(integral, 0, (y + geometry.size) / step) - _at(integral, 0, y / step)
    sums = _at(band, 1, (x + geometry.size) / step) - _at(band, 1, x / step)
    return np.clip(sums / (geometry.size / step) ** 2, 0, 1)


def _at(integral: np.ndarray, axis: int, positions: np.ndarray) -> np.ndarray:
    """An integral image at fractional positions along an axis (it is linear between px)."""
    last = integral.shape[axis] - 1
    place = np.clip(positions, 0, last)
    low = np.minimum(place.astype(int), last - 1)
    part = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
    return np.take(integral, low, axis) * (1 - part) + np.take(integral, low + 1, axis) * part
