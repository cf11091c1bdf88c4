"""Tiles in micrometres laid on pixels: pure arithmetic, no file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REDUCTIONS = (8, 4, 2)
"""By how much a JPEG decoder can leave out detail, the most first."""

SAME_SCALE = 1.02
"""A level up to 2 % coarser than asked for counts as the same scale."""


@dataclass(frozen=True)
class TileGeometry:
    """How tiles of a physical size lie on a slide.

    The size of a tile is a whole number of px at level 0 and at the level that is read, so tiles
    share their borders exactly; the physical scale is off by at most half a px per tile, and
    ``actual_mpp`` says what it is.

    Attributes
    ----------
    tile_px : int
        Side of the tile that is given out, px.
    size, stride : int
        Side and step at level 0, px.
    level : int
        Level that is read.
    read_px : int
        Side at that level, px; area-averaged to ``tile_px``.
    downsample : float
        Level-0 px per px of the level.
    requested_mpp, actual_mpp : float
        um per px of the tile: asked for, and had.
    columns, rows : int
        Tiles that lie wholly inside the slide.
    """

    tile_px: int
    size: int
    stride: int
    level: int
    read_px: int
    downsample: float
    requested_mpp: float
    actual_mpp: float
    columns: int
    rows: int

    def origins(self) -> tuple[np.ndarray, np.ndarray]:
        """Level-0 x of each column and y of each row (int64)."""
        return (
            np.arange(self.columns, dtype=np.int64) * self.stride,
            np.arange(self.rows, dtype=np.int64) * self.stride,
        )

    def reduction_to(self, side: int) -> int:
        """Return by how much a tile may be decoded smaller and be ``side`` px (2 % less at most); 1: not.

        Corners and sides of all tiles must be whole px then.

        Examples
        --------
        >>> grid = lay_tiles((4000, 3000), (1, 4), 0.25, tile_px=224, wanted_mpp=0.5)
        >>> grid.reduction_to(224), grid.reduction_to(56)
        (2, 8)
        """
        lengths = (self.read_px, self.to_level(self.stride))
        for reduction in REDUCTIONS:
            whole = not any(length % reduction for length in lengths)
            if whole and self.read_px // reduction * SAME_SCALE >= side:
                return reduction
        return 1

    def to_level(self, position: int) -> int:
        """A level-0 coordinate in px of the level that is read."""
        return round(position / self.downsample)


def choose_level(mpp: float, downsamples: Sequence[float], wanted: float) -> int:
    """The coarsest level that is at least as fine as ``wanted`` um per px (2 % tolerance).

    Examples
    --------
    >>> choose_level(0.25, (1, 4, 16), wanted=1.0), choose_level(0.25, (1, 4, 16), wanted=0.9)
    (1, 0)
    """
    fine = [i for i, factor in enumerate(downsamples) if mpp * factor <= wanted * SAME_SCALE]
    return max(fine, key=lambda level: downsamples[level], default=0)


def lay_tiles(
    dimensions: tuple[int, int],
    downsamples: Sequence[float],
    mpp: float,
    *,
    tile_px: int,
    wanted_mpp: float,
    stride_px: int | None = None,
    reducible: bool = False,
) -> TileGeometry:
    """Lay a grid of tiles from the slide's top left corner.

    Parameters
    ----------
    dimensions : (int, int)
        Width and height of level 0, px.
    mpp : float
        um per px of level 0.
    tile_px, stride_px : int
        Side and step of the tiles at ``wanted_mpp``; the step is the side by default.
    reducible : bool
        Where the level is two, four or eight times as fine as the tiles, side and step are so many
        px, so that a decoder can leave out the rest.

    Examples
    --------
    >>> grid = lay_tiles((4000, 3000), (1, 4), 0.25, tile_px=224, wanted_mpp=0.5)
    >>> grid.size, grid.level, (grid.columns, grid.rows), grid.actual_mpp
    (448, 0, (8, 6), 0.5)
    """
    level = choose_level(mpp, downsamples, wanted_mpp)
    factor = downsamples[level]
    finer = wanted_mpp / (mpp * factor) * SAME_SCALE
    px = next((each for each in REDUCTIONS if reducible and finer >= each), 1)
    unit = px * max(round(factor), 1)  # whole px at the level, where its factor is a whole number

    def snapped(length_px: int) -> int:
        return max(round(length_px * wanted_mpp / mpp / unit), 1) * unit

    size = snapped(tile_px)
    stride = size if stride_px is None else snapped(stride_px)
    columns, rows = ((side - size) // stride + 1 if side >= size else 0 for side in dimensions)
    return TileGeometry(
        tile_px=tile_px,
        size=size,
        stride=stride,
        level=level,
        read_px=round(size / factor),
        downsample=factor,
        requested_mpp=wanted_mpp,
        actual_mpp=size * mpp / tile_px,
        columns=columns,
        rows=rows,
    )
