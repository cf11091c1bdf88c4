"""What a reader gives: pixels, and where the slide holds none."""

from typing import NamedTuple, Protocol

import numpy as np

from offsite.errors import InputError


class Region(NamedTuple):
    """Pixels of a rectangle.

    Attributes
    ----------
    pixels : numpy.ndarray
        H x W x 3, uint8, RGB; white where the slide holds no data.
    valid : numpy.ndarray or None
        H x W, bool: where it holds data; None means everywhere.
    """

    pixels: np.ndarray
    valid: np.ndarray | None


class RegionReader(Protocol):
    """Reads rectangles of one open slide; safe to call from several threads.

    ``name`` says which reader it is. ``read`` takes the top left corner and the size in px *of the
    level*; it raises ``UnreadableRegion`` where the file is damaged, and can be used afterwards.
    """

    name: str

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        """Read a rectangle; what lies outside the level is no data."""

    def close(self) -> None:
        """Release the file."""


class UnreadableRegion(InputError):
    """A rectangle of a slide that cannot be decoded."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(
            f"a region cannot be decoded ({reason})",
            file=file,
            remedy="The file is damaged here: fetch it again from the archive or the scanner",
            code="unreadable_region",
        )
