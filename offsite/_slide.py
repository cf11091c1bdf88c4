"""A whole-slide image and its tiles, for a loop of one's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.preprocessing.slides import opening
from offsite.preprocessing.slides.overview import read_overview
from offsite.preprocessing.slides.region import UnreadableRegion
from offsite.preprocessing.tiles.reading import read_tile
from offsite.preprocessing.tiles.table import SlideRecord, TileSettings
from offsite.preprocessing.tiles.tiling import tiles_of


class Tile(NamedTuple):
    """A tile of a slide.

    Attributes
    ----------
    x, y : int
        Top left corner, px of level 0.
    pixels : numpy.ndarray
        px x px x 3, uint8, RGB.
    """

    x: int
    y: int
    pixels: np.ndarray


class Slide:
    """An open slide; a context manager. Made by `open_slide`.

    Attributes
    ----------
    path : str
    dimensions : (int, int)
        Width and height of level 0, px.
    mpp : float
        um per px of level 0.
    """

    def __init__(self, slide: opening.Slide) -> None:
        self._slide = slide
        self.path, self.dimensions, self.mpp = slide.path, slide.dimensions, slide.mpp

    def tiles(self, mpp: float = 0.5, px: int = 224, tissue: float = 0.5) -> Iterator[Tile]:
        """Yield the tiles with tissue, row by row: the same that `offsite workflow tile` keeps.

        Tiles of pen, folds, blur or glass are left out. The whole slide is looked at before the
        first one comes; then a tile is read when it is asked for.

        Parameters
        ----------
        mpp : float
            Scale of a tile, um per px.
        px : int
            Side of a tile, px.
        tissue : float
            Least share of a tile that is tissue, 0..1.

        Raises
        ------
        InputError
            The slide is coarser than ``mpp``, nothing of it can be decoded, or a number is out of
            its range.
        """
        try:
            settings = TileSettings(mpp=mpp, tile_px=px, min_tissue=tissue)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"tiles of {px} px at {mpp:g} um per px with {tissue:g} tissue cannot be laid",
                remedy=f"{first['loc'][0]}: {first['msg']}",
            ) from error
        name = Path(self.path).name
        base = SlideRecord(slide=Path(self.path).stem, image=name, status="done")
        tiles, _ = tiles_of(self._slide, base, settings)
        for x, y in tiles.kept_places().tolist():
            try:
                yield Tile(x, y, read_tile(self._slide, tiles.record, x, y))
            except UnreadableRegion:  # it could be read a moment ago
                continue

    def thumbnail(self, px: int = 1024) -> np.ndarray:
        """Return the whole slide, H x W x 3, uint8, RGB; its longer side is about ``px``."""
        scale = self.mpp * max(self.dimensions) / px
        return read_overview(self._slide, mpp=scale, max_px=px * px).pixels

    def close(self) -> None:
        """Release the file."""
        self._slide.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        width, height = self.dimensions
        return f"<Slide: {width} x {height} px, {self.mpp:g} um per px>"


def open_slide(path: str | Path, *, mpp: float | None = None) -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path : path
        The file (for DICOM one file of the series, for MRXS the ``.mrxs``).
    mpp : float, optional
        um per px of level 0, instead of what the file says.

    Raises
    ------
    InputError
        It cannot be read, or its scale is unknown (docs/tiles.md lists the codes).
    """
    return Slide(opening.open_slide(path, mpp=mpp))
