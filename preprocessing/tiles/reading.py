"""Pixels of tiles, read in the order of the file, decoded in threads while others compute."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from offsite.preprocessing.slides.damage import read_square
from offsite.preprocessing.slides.opening import Slide, open_slide
from offsite.preprocessing.slides.region import UnreadableRegion
from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.tiles.table import SlideRecord, SlideTiles


@dataclass(frozen=True)
class TileBatch:
    """Some tiles of a slide.

    Attributes
    ----------
    index : numpy.ndarray
        n, int64: their rows in ``tiles.kept()``.
    pixels : numpy.ndarray
        n x P x P x 3, uint8, RGB, at the physical scale of the record.
    coords : numpy.ndarray
        n x 2, int64: level-0 x, y of the top left corners.
    unreadable : numpy.ndarray
        m, int64: rows that belong here but could not be decoded; they have no pixels.
    """

    index: np.ndarray
    pixels: np.ndarray
    coords: np.ndarray
    unreadable: np.ndarray


def read_tile(slide: Slide, record: SlideRecord, x: int, y: int) -> np.ndarray:
    """One tile (P x P x 3, uint8) with its top left corner at level-0 px ``x, y``.

    A finer level stands in where the one that is read is damaged.

    Raises
    ------
    UnreadableRegion
        The file is damaged there, at each of these levels.
    """
    assert record.read_px is not None
    assert record.level is not None
    assert record.tile_px is not None
    pixels = _reduced_square(slide, record, x, y)
    if pixels is None:
        pixels = read_square(slide, x, y, record.level, record.read_px)[0].pixels
    return area_reduced(pixels, (record.tile_px, record.tile_px))


def _reduced_square(slide: Slide, record: SlideRecord, x: int, y: int) -> np.ndarray | None:
    """The tile decoded at a part of its size, as the record says; None where that cannot be."""
    if record.reduction == 1 or not slide.reduces(record.level or 0, record.reduction):
        return None
    level, side = record.level or 0, record.read_px or 0
    factor = slide.level_downsamples[level]
    place = (round(x / factor), round(y / factor))
    try:
        return slide.read_reduced(*place, level, side, side, record.reduction).pixels
    except UnreadableRegion:  # a finer level may have it
        return None


def pool_pixels(
    slide: Slide, tiles: SlideTiles, *, tiles_wanted: int = 24, step: int = 3
) -> np.ndarray:
    """Every ``step``-th pixel, both ways, of kept tiles spread evenly over the slide (N x 3)."""
    coords = tiles.kept_places()
    sample = np.unique(np.linspace(0, len(coords) - 1, tiles_wanted).round().astype(int))
    pooled = [np.empty((0, 3), np.uint8)]
    for row in sample if len(coords) else ():
        try:
            tile = read_tile(slide, tiles.record, int(coords[row, 0]), int(coords[row, 1]))
        except UnreadableRegion:
            continue
        pooled.append(tile[::step, ::step].reshape(-1, 3))
    return np.concatenate(pooled)


def read_tiles(
    image: str | Path, tiles: SlideTiles, *, batch_size: int, threads: int = 1
) -> Iterator[TileBatch]:
    """Yield the kept tiles of a slide in order.

    Parameters
    ----------
    image : path
        The slide.
    batch_size : int
        Tiles of a batch (the last one may be smaller).
    threads : int
        Threads that decode ahead of the caller.
    """
    record = tiles.record
    coords = tiles.kept_places()
    with (
        open_slide(image, mpp=record.mpp, reader=record.reader, colour=record.colour) as slide,
        ThreadPoolExecutor(threads) as pool,
    ):
        starts = range(0, len(coords), batch_size)
        tasks = (
            pool.submit(_read_batch, slide, record, coords, start, batch_size) for start in starts
        )
        pending = list(islice(tasks, threads + 1))
        while pending:
            batch: Future[TileBatch] = pending.pop(0)
            yield batch.result()
            pending.extend(islice(tasks, 1))


def _read_batch(
    slide: Slide, record: SlideRecord, coords: np.ndarray, start: int, batch_size: int
) -> TileBatch:
    assert record.tile_px is not None
    stop = min(start + batch_size, len(coords))
    pixels = np.empty((stop - start, record.tile_px, record.tile_px, 3), np.uint8)
    good: list[int] = []
    bad: list[int] = []
    for row in range(start, stop):
        try:
            pixels[len(good)] = read_tile(slide, record, int(coords[row, 0]), int(coords[row, 1]))
        except UnreadableRegion:
            bad.append(row)
        else:
            good.append(row)
    return TileBatch(
        index=np.array(good, np.int64),
        pixels=pixels[: len(good)],
        coords=coords[good],
        unreadable=np.array(bad, np.int64),
    )
