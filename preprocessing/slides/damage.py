"""Read around damage: what of a rectangle is lost, down to native tiles, and what another level has.

A file is rarely damaged as a whole. Where a rectangle cannot be decoded it is halved along the
borders of the file's own tiles, until what is left is a native tile that no level gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from offsite.children import clock
from offsite.preprocessing.slides.opening import Slide
from offsite.preprocessing.slides.region import Region, UnreadableRegion
from offsite.preprocessing.slides.scaling import area_reduced

_LEAST_PX = 16  # smaller native tiles, or lower strips, are given up several at a time
_MOST_PX = 2048  # read of another level at a time, for memory's sake


@dataclass
class Patience:
    """How many more failed reads a slide is given: one that is damaged throughout ends soon."""

    left: int = 4096


class Part(NamedTuple):
    """What a slide gives of a rectangle of a level.

    Attributes
    ----------
    pixels : numpy.ndarray
        H x W x 3, uint8, RGB; white where there is no data or nothing can be decoded.
    valid : numpy.ndarray or None
        H x W, bool: where there are data that could be decoded; None means everywhere.
    damaged : numpy.ndarray or None
        H x W, bool: what no level gives; None means nothing.
    decoded_from : frozenset of int
        Levels that stood in for the one that was asked for.
    """

    pixels: np.ndarray
    valid: np.ndarray | None
    damaged: np.ndarray | None
    decoded_from: frozenset[int]

    @property
    def lost(self) -> float:
        """Share of it that no level gives, 0..1."""
        return 0.0 if self.damaged is None else float(self.damaged.mean())


def finer_levels(slide: Slide, level: int) -> tuple[int, ...]:
    """Levels with more detail than ``level``, the nearest first."""
    factors = slide.level_downsamples
    finer = [other for other, factor in enumerate(factors) if factor < factors[level]]
    return tuple(sorted(finer, key=lambda other: -factors[other]))


def coarser_levels(slide: Slide, level: int) -> tuple[int, ...]:
    """Levels with less detail than ``level``, the nearest first."""
    factors = slide.level_downsamples
    coarser = [other for other, factor in enumerate(factors) if factor > factors[level]]
    return tuple(sorted(coarser, key=lambda other: factors[other]))


def read_part(
    slide: Slide,
    x: int,
    y: int,
    level: int,
    width: int,
    height: int,
    *,
    others: Sequence[int] = (),
    patience: Patience | None = None,
) -> Part:
    """Read what can be read of a rectangle; corner and size in px of the level.

    Parameters
    ----------
    others : sequence of int
        Levels that may stand in where this one is damaged, in the order in which to try them.
    patience : Patience, optional
        What several rectangles of one slide share.
    """
    patience = Patience() if patience is None else patience
    try:
        region = slide.read_region(x, y, level, width, height)
    except UnreadableRegion:
        pass
    else:
        return Part(region.pixels, region.valid, None, frozenset())
    clock.tick()
    patience.left -= 1
    halves = _halved(slide, x, y, level, width, height) if patience.left > 0 else ()
    if halves:
        parts = [
            (one, read_part(slide, *one[:2], level, *one[2:], others=others, patience=patience))
            for one in halves
        ]
        return _joined((x, y, width, height), parts)
    for position, other in enumerate(others if patience.left > 0 else ()):
        rest = others[position + 1 :]
        part = _from_level(slide, (x, y, width, height), level, other, rest, patience)
        if part.lost < 1:
            return part
    nothing = np.zeros((height, width), bool)
    white = np.full((height, width, 3), 255, np.uint8)
    return Part(white, nothing, ~nothing, frozenset())


def read_square(slide: Slide, x: int, y: int, level: int, side: int) -> tuple[Region, int]:
    """Read a square as a whole, of a finer level where its own is damaged.

    Parameters
    ----------
    x, y : int
        Top left corner, level-0 px.
    side : int
        Px of ``level``; a finer level gives its own number of px for the same square.

    Returns
    -------
    Region, int
        The pixels, and the level that gave them.

    Raises
    ------
    UnreadableRegion
        No level gives all of it.
    """
    factors = slide.level_downsamples
    try:
        place = (round(x / factors[level]), round(y / factors[level]))
        return slide.read_region(*place, level, side, side), level
    except UnreadableRegion:
        for other in finer_levels(slide, level):
            size = round(side * factors[level] / factors[other])
            place = (round(x / factors[other]), round(y / factors[other]))
            try:
                return slide.read_region(*place, other, size, size), other
            except UnreadableRegion:
                continue
        raise


Rectangle = tuple[int, int, int, int]


def _halved(
    slide: Slide, x: int, y: int, level: int, width: int, height: int
) -> tuple[Rectangle, ...]:
    """Two halves that meet at a border of native tiles; none where it lies within one of them."""
    across, down = (max(side, _LEAST_PX) for side in slide.native_tiles[level])
    cut_x, cut_y = _middle_border(x, width, across), _middle_border(y, height, down)
    if cut_x is not None and (cut_y is None or width / across >= height / down):
        return (x, y, cut_x - x, height), (cut_x, y, x + width - cut_x, height)
    if cut_y is not None:
        return (x, y, width, cut_y - y), (x, cut_y, width, y + height - cut_y)
    return ()


def _middle_border(start: int, length: int, tile: int) -> int | None:
    """The multiple of ``tile`` inside an interval that is nearest its middle; None if none is."""
    first, last = start // tile + 1, -(-(start + length) // tile) - 1
    if first > last:
        return None
    return min(max(round((start + length / 2) / tile), first), last) * tile


def _joined(whole: Rectangle, parts: list[tuple[Rectangle, Part]]) -> Part:
    x, y, width, height = whole
    pixels = np.empty((height, width, 3), np.uint8)
    valid, damaged = np.empty((height, width), bool), np.empty((height, width), bool)
    levels: frozenset[int] = frozenset()
    for (left, top, across, down), part in parts:
        target = np.s_[top - y : top - y + down, left - x : left - x + across]
        pixels[target] = part.pixels
        valid[target] = True if part.valid is None else part.valid
        damaged[target] = False if part.damaged is None else part.damaged
        levels |= part.decoded_from
    return Part(pixels, valid, damaged, levels)


def _from_level(
    slide: Slide,
    rectangle: Rectangle,
    level: int,
    other: int,
    others: Sequence[int],
    patience: Patience,
) -> Part:
    """The rectangle as another level shows it, at the size that it has on its own."""
    x, y, width, height = rectangle
    ratio = slide.level_downsamples[level] / slide.level_downsamples[other]
    if max(width, height) > 1 and max(width, height) * ratio > _MOST_PX:
        if width >= height:
            half = width // 2
            rectangles = [(x, y, half, height), (x + half, y, width - half, height)]
        else:
            half = height // 2
            rectangles = [(x, y, width, half), (x, y + half, width, height - half)]
        parts = [
            (one, _from_level(slide, one, level, other, others, patience)) for one in rectangles
        ]
        return _joined(rectangle, parts)
    left, top = round(x * ratio), round(y * ratio)
    across = max(round((x + width) * ratio) - left, 1)
    down = max(round((y + height) * ratio) - top, 1)
    part = read_part(slide, left, top, other, across, down, others=others, patience=patience)
    size = (width, height)
    pixels, valid, damaged = area_reduced(part.pixels, size), part.valid, part.damaged
    if damaged is not None:
        damaged = area_reduced(damaged.astype(np.uint8) * 255, size) > 0
    if valid is not None:
        valid = area_reduced(valid.astype(np.uint8) * 255, size) > 127
        valid = valid if damaged is None else valid & ~damaged
        pixels = np.where(valid[..., None], pixels, np.uint8(255))
    return Part(pixels, valid, damaged, part.decoded_from | {other})
