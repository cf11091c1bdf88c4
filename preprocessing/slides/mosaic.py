"""A rectangle put together from the native tiles, or strips, that it meets."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from offsite.preprocessing.slides.region import Region


class Grid(Protocol):
    """How the tiles of a level lie: row by row from the top left, the last ones may reach beyond."""

    @property
    def width(self) -> int:
        """Of the level, px."""

    @property
    def height(self) -> int:
        """Of the level, px."""

    @property
    def tile_width(self) -> int:
        """Of a tile, px."""

    @property
    def tile_height(self) -> int:
        """Of a tile, px."""

    @property
    def across(self) -> int:
        """Tiles in a row."""


def mosaic(
    grid: Grid,
    tile_of: Callable[[int], np.ndarray | None],
    x: int,
    y: int,
    width: int,
    height: int,
) -> Region:
    """Cut and stitch a rectangle; corner and size in px of the level.

    Parameters
    ----------
    tile_of : callable
        Gives the pixels (H x W x 3, uint8) of a tile by its number; None is a hole in the file.
    """
    pixels = np.empty((height, width, 3), np.uint8)
    inside = x >= 0 and y >= 0 and x + width <= grid.width and y + height <= grid.height
    valid = None if inside else np.zeros((height, width), bool)
    if valid is not None:
        pixels[:] = 255
    for row, y0, y1 in _spans(y, height, grid.tile_height, grid.height):
        for column, x0, x1 in _spans(x, width, grid.tile_width, grid.width):
            target = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
            tile = tile_of(row * grid.across + column)
            if tile is None:
                pixels[target] = 255
                valid = np.ones((height, width), bool) if valid is None else valid
                valid[target] = False
                continue
            top, left = row * grid.tile_height, column * grid.tile_width
            pixels[target] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
            if valid is not None:
                valid[target] = True
    return Region(pixels, valid)


def _spans(start: int, length: int, tile: int, limit: int) -> Iterator[tuple[int, int, int]]:
    """Each native tile that an interval meets inside the level: its index, first and last px."""
    low, high = max(start, 0), min(start + length, limit)
    for index in range(low // tile, -(-high // tile) if high > low else 0):
        yield index, max(low, index * tile), min(high, (index + 1) * tile)
