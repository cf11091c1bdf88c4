"""Which tiles of an open slide are fit to be used, and why the others are not."""

from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from offsite.children import clock
from offsite.errors import InputError
from offsite.preprocessing.slides.damage import Patience, finer_levels, read_part, read_square
from offsite.preprocessing.slides.geometry import TileGeometry
from offsite.preprocessing.slides.opening import Slide
from offsite.preprocessing.slides.overview import Overview, read_overview
from offsite.preprocessing.slides.region import Region, UnreadableRegion
from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.tiles.masks import Masks, masks_of
from offsite.preprocessing.tiles.quality import QualitySettings, tile_quality
from offsite.preprocessing.tiles.table import KEPT, STATUSES, TileSettings

_BATCH = 128
SHARES = ("tissue", "coverage", "fat", "pen", "fold", "dark", "pale")


@dataclass(frozen=True)
class SlideMasks(Masks):
    """What an overview shows."""

    overview: Overview


def find_masks(slide: Slide, settings: TileSettings) -> SlideMasks:
    """Tissue (ink left out), fat, pen and folds of a slide.

    Raises
    ------
    InputError
        ``unreadable_slide`` where nothing of it can be decoded.
    """
    overview = read_overview(slide, mpp=settings.tissue.mpp, max_px=settings.tissue.max_px)
    if overview.damaged.all():
        raise InputError(
            "no part of the slide can be decoded",
            code="unreadable_slide",
            file=slide.path,
            remedy="Fetch the file again from the archive or the scanner",
        )
    masks = masks_of(
        overview.pixels, overview.valid, overview.mpp, settings.tissue, settings.quality
    )
    return SlideMasks(**vars(masks), overview=overview)


def select_tiles(
    slide: Slide, masks: SlideMasks, geometry: TileGeometry, settings: TileSettings
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Judge every tile that holds enough tissue, or what ink hides of it.

    Returns
    -------
    table : pandas.DataFrame
        As in ``offsite.preprocessing.tiles.table.SlideTiles``.
    counts : dict of str to int
        Every tile of the grid by status, ``background`` included.
    """
    step = masks.overview.step
    tissue = cell_means(masks.tissue | masks.pen | masks.overview.damaged, step, geometry)
    rows, columns = np.nonzero(tissue >= max(settings.min_tissue, 1e-6))
    x, y = geometry.origins()
    columns_of = {"tissue": tissue[rows, columns]}
    for name, mask in (("fat", masks.fat), ("pen", masks.pen), ("fold", masks.fold)):
        share = cell_means(mask, step, geometry) if mask.any() else np.zeros_like(tissue)
        columns_of[name] = share[rows, columns]
    columns_of |= _read_all(slide, x[columns], y[rows], geometry, masks.white, settings)
    status = _statuses(columns_of, settings.quality)
    shares = {name: columns_of[name].astype(np.float32) for name in (*SHARES, "focus", "lost")}
    level = {"level": columns_of["level"].astype(np.int16)}
    places = {"x": x[columns], "y": y[rows]}
    table = pd.DataFrame(places | shares | level | {"status": pd.Series(status, dtype=str)})
    counts = {name: int((status == name).sum()) for name in STATUSES}
    return table, counts | {"background": tissue.size - len(table)}


def _read_all(
    slide: Slide,
    x: np.ndarray,
    y: np.ndarray,
    geometry: TileGeometry,
    white: np.ndarray,
    settings: TileSettings,
) -> dict[str, np.ndarray]:
    """Coverage, dark, pale and focus of each tile; NaN where it cannot be decoded.

    Also the level that gave it, and the share of it (0..1) that no level gives.
    """
    names = ("coverage", "dark", "pale", "focus")
    measures = {name: np.full(len(x), np.nan) for name in names}
    measures |= {"lost": np.zeros(len(x)), "level": np.full(len(x), geometry.level)}
    patience = Patience()
    side = max(round(geometry.tile_px * geometry.actual_mpp / settings.quality.mpp), 4)
    reduction = reduction_for(slide, geometry, settings, side)
    for start in range(0, len(x), _BATCH):
        clock.tick()
        good, small = [], []
        for row in range(start, min(start + _BATCH, len(x))):
            place = (int(x[row]), int(y[row]))
            try:
                region, level = _square(slide, *place, geometry, reduction)
            except UnreadableRegion:
                measures["lost"][row] = _lost(slide, *place, geometry, patience)
                continue
            measures["level"][row] = level
            good.append(row)
            small.append(_reduced(region.pixels, min(side, geometry.read_px)))
            measures["coverage"][row] = 1.0 if region.valid is None else region.valid.mean()
        if good:
            quality = tile_quality(np.stack(small), white, settings.quality)
            for name in names[1:]:
                measures[name][good] = getattr(quality, name)
    return measures


def reduction_for(slide: Slide, geometry: TileGeometry, settings: TileSettings, side: int) -> int:
    """By how much tiles are decoded smaller, ``side`` px being enough; 1 where they are not."""
    reduction = geometry.reduction_to(side) if settings.decoding != "full" else 1
    while reduction > 1 and not slide.reduces(geometry.level, reduction):
        reduction //= 2
    return reduction


def _square(
    slide: Slide, x: int, y: int, geometry: TileGeometry, reduction: int
) -> tuple[Region, int]:
    """A tile, decoded smaller where that can be, else of a finer level; and the level."""
    level, side = geometry.level, geometry.read_px
    if reduction > 1:
        place = (geometry.to_level(x), geometry.to_level(y))
        with suppress(UnreadableRegion):
            return slide.read_reduced(*place, level, side, side, reduction), level
    return read_square(slide, x, y, level, side)


def _lost(slide: Slide, x: int, y: int, geometry: TileGeometry, patience: Patience) -> float:
    """Share of a tile that neither its level nor a finer one gives."""
    level, side = geometry.level, geometry.read_px
    place = (geometry.to_level(x), geometry.to_level(y))
    finer = finer_levels(slide, level)
    return read_part(slide, *place, level, side, side, others=finer, patience=patience).lost


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """Area-averaged to ``side``; halving first is several times faster and differs by rounding."""
    while pixels.shape[0] >= 4 * side and pixels.shape[0] % 2 == 0:
        half = pixels.shape[0] // 2
        pixels = cv2.resize(pixels, (half, half), interpolation=cv2.INTER_AREA)
    return area_reduced(pixels, (side, side))


def _statuses(columns: dict[str, np.ndarray], limits: QualitySettings) -> np.ndarray:
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
    return np.select(list(reasons.values()), list(reasons), default=KEPT)


def cell_means(values: np.ndarray, step: float, geometry: TileGeometry) -> np.ndarray:
    """Mean of a mask over every tile (rows x columns), by an integral image.

    ``step`` is level-0 px per px of the map. Fractions of a map px at a tile's border count by
    their area, so the mean is exact.
    """
    integral = cv2.integral(values.view(np.uint8), sdepth=cv2.CV_32S)
    x, y = geometry.origins()
    band = _at(integral, 0, (y + geometry.size) / step) - _at(integral, 0, y / step)
    sums = _at(band, 1, (x + geometry.size) / step) - _at(band, 1, x / step)
    return np.clip(sums / (geometry.size / step) ** 2, 0, 1)


def _at(integral: np.ndarray, axis: int, positions: np.ndarray) -> np.ndarray:
    """An integral image at fractional positions along an axis (it is linear between px)."""
    last = integral.shape[axis] - 1
    within = np.clip(positions, 0, last)
    low = np.minimum(within.astype(int), last - 1)
    part = (within - low).reshape((-1, 1) if axis == 0 else (1, -1))
    return np.take(integral, low, axis) * (1 - part) + np.take(integral, low + 1, axis) * part
