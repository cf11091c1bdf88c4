"""A second reader: TIFF slides that OpenSlide refuses, with tifffile, simplejpeg and Pillow.

OME-TIFF, QPTIFF, TIFF in strips, and those compressed by WebP, JPEG 2000, Zstandard. Where both read a file
the pixels are the same; OpenSlide comes first.
"""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from PIL import ImageCms

from offsite.errors import InputError
from offsite.preprocessing.formats.kinds import kind_of
from offsite.preprocessing.slides.formats import REMEDY, NotThisFormat
from offsite.preprocessing.slides.mosaic import mosaic
from offsite.preprocessing.slides.region import Region, UnreadableRegion
from offsite.preprocessing.slides.tiff_pages import TiffLevel, TiffSlide, read_structure
from offsite.preprocessing.slides.tiff_segments import (
    OF_ITS_OWN_COLOURS,
    READ,
    decode_segment,
    most_bytes,
)

CACHE_BYTES = 128 << 20


class TiffReader:
    """Reads the levels of a TIFF slide; see `offsite.preprocessing.slides.formats.SlideFile`."""

    name = "tiff"

    def __init__(self, path: str, slide: TiffSlide) -> None:
        self._path = path
        self._levels = slide.levels
        self._profile = slide.profile
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self._held = 0
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.level_dimensions = tuple((level.width, level.height) for level in slide.levels)
        width, height = self.level_dimensions[0]
        self.downsamples = tuple((width / w + height / h) / 2 for w, h in self.level_dimensions)
        self.properties: Mapping[str, str] = slide.properties

    @property
    def colour_profile(self) -> ImageCms.ImageCmsProfile | None:
        """The embedded profile; one that cannot be read is none."""
        try:
            return ImageCms.ImageCmsProfile(io.BytesIO(self._profile)) if self._profile else None
        except OSError:
            return None

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        """Read a rectangle; corner and size in px of the level."""
        return mosaic(self._levels[level], partial(self._tile, level), x, y, width, height)

    def close(self) -> None:
        """Release the file and the cache."""
        with self._lock:
            self._cache.clear()
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _tile(self, level: int, index: int) -> np.ndarray | None:
        key = (level, index)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        tile = self._decoded(self._levels[level], index)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = tile
                self._held += 0 if tile is None else tile.nbytes
            while self._held > CACHE_BYTES and len(self._cache) > 1:
                _, oldest = self._cache.popitem(last=False)
                self._held -= 0 if oldest is None else oldest.nbytes
        return tile

    def _decoded(self, level: TiffLevel, index: int) -> np.ndarray | None:
        """One tile or strip (H x W x 3), of all its planes; None where the file leaves a hole."""
        planes = []
        for plane in range(level.planes):
            place = plane * level.count + index
            length = int(level.lengths[place])
            if length == 0:
                return None
            if length > most_bytes(level.tile_width * level.tile_height * level.samples):
                raise UnreadableRegion(self._path, f"a segment of {length} bytes")
            stream = os.pread(self._file, length, int(level.offsets[place]))
            try:
                if len(stream) < length:
                    raise ValueError("the file ends before")
                planes.append(decode_segment(level, stream, level.rows_of(index)))
            except ValueError as error:
                raise UnreadableRegion(self._path, str(error)) from error
        tile = planes[0] if level.planes == 1 else np.concatenate(planes[:3], axis=2)
        tile.flags.writeable = False  # it is shared
        return tile


def open_tiff(path: str, *, scaled: bool = False) -> TiffReader:
    """Open a TIFF slide.

    Parameters
    ----------
    scaled : bool
        Somebody says how many um a px is: a picture in strips that does not is a slide then.

    Raises
    ------
    NotThisFormat
        It is no TIFF, or none of a slide.
    InputError
        As `offsite.preprocessing.slides.tiff_pages.read_structure`; ``cannot_open`` for a
        compression that is not read.
    """
    if kind_of(Path(path)) != "tiff":
        raise NotThisFormat("not a TIFF")
    slide = read_structure(path, scaled=scaled)
    for level in slide.levels:
        ycbcr = level.photometric == tifffile.PHOTOMETRIC.YCBCR
        if level.compression not in (OF_ITS_OWN_COLOURS if ycbcr else READ):
            raise InputError(
                f"its pixels are compressed in a way that is not read (TIFF's number"
                f" {level.compression})",
                file=path,
                remedy=REMEDY,
                code="cannot_open",
            )
    return TiffReader(path, slide)
