"""Decode the native JPEG tiles of a TIFF ourselves: the same pixels, several times faster.

OpenSlide spends most of its time on blending; here every native tile is decoded once, cut and
stitched. The reader is used only where probe tiles equal OpenSlide's bit for bit.
"""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import simplejpeg
import tifffile

from offsite.preprocessing.slides.mosaic import mosaic
from offsite.preprocessing.slides.openslide_reader import OpenSlideReader
from offsite.preprocessing.slides.region import Region, UnreadableRegion
from offsite.preprocessing.slides.tiff_segments import check_jpeg_size, most_bytes

CACHE_BYTES = 128 << 20
_MAX_TILE_PX = 4096
# APP14 with transform 0: the components are RGB as they are. TIFF says so in a tag of its own;
# without this segment a JPEG decoder would take them for YCbCr.
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


class NotEligible(Exception):
    """The file cannot be read directly; the text says why."""


@dataclass(frozen=True, eq=False)
class _Level:
    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: np.ndarray
    lengths: np.ndarray
    prefix: bytes  # replaces the first two bytes (SOI) of every tile's stream
    across: int  # native tiles of a row

    @property
    def most_bytes(self) -> int:
        """Of a tile that is believed: no encoder needs as many."""
        return most_bytes(self.tile_width * self.tile_height * 3)


class DirectReader:
    """Reads tiled JPEG TIFF (SVS and generic); other levels of the file go to OpenSlide.

    Parameters
    ----------
    path : str
        The slide.
    record : OpenSlideReader
        The open reader of record: gives the levels, the probes, and what is not eligible.

    Raises
    ------
    NotEligible
        Level 0 is not tiled JPEG, or its probe tiles differ from OpenSlide's.
    """

    name = "direct"

    def __init__(self, path: str, record: OpenSlideReader) -> None:
        self._path = path
        self._record = record
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int, int], np.ndarray | None] = OrderedDict()
        self._file = os.open(path, os.O_RDONLY)
        try:
            self._levels = _find_levels(path, record)
            self._capacity = _four_rows(self._levels[0])
            self._prove()
        except BaseException:
            os.close(self._file)
            raise

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        """Read a rectangle; coordinates and size in px of the level."""
        source = self._levels[level]
        if source is None:
            return self._record.read(x, y, level, width, height)
        return self._read(source, x, y, level, width, height, 1)

    def reduces(self, level: int, reduction: int) -> bool:
        """Whether native tiles of a level can be decoded at 1/2, 1/4 or 1/8 of their size."""
        source = self._levels[level]
        if source is None or reduction not in (2, 4, 8):
            return False
        return source.tile_width % reduction == 0 == source.tile_height % reduction

    def read_reduced(
        self, x: int, y: int, level: int, width: int, height: int, reduction: int
    ) -> Region:
        """Read a rectangle, decoded at 1/``reduction`` of its size, where `reduces` holds.

        Coordinates and size in px *of the reduced level*. Leaving out the upper frequencies of each
        block is nearly an average over areas.
        """
        source = self._levels[level]
        assert source is not None
        return self._read(_reduced(source, reduction), x, y, level, width, height, reduction)

    def _read(
        self, source: _Level, x: int, y: int, level: int, width: int, height: int, reduction: int
    ) -> Region:
        whole = self._whole_tile(source, x, y, level, width, height, reduction)
        if whole is not None:
            return Region(whole, None)
        tile_of = partial(self._tile, level, reduction)
        return mosaic(source, tile_of, x, y, width, height)

    def _whole_tile(
        self, source: _Level, x: int, y: int, level: int, width: int, height: int, reduction: int
    ) -> np.ndarray | None:
        """The native tile itself (read-only) where that is what is asked for."""
        if (
            (width, height) != (source.tile_width, source.tile_height)
            or x < 0
            or y < 0
            or x % width
            or y % height
            or x + width > source.width
            or y + height > source.height
        ):
            return None
        index = y // height * source.across + x // width
        with self._lock:
            known = self._cache.get((level, index, reduction))
        # On the file's own grid a tile is wanted once: keeping it would cost more than it saves.
        return self._decode(level, index, reduction) if known is None else known

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._cache.clear()
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _tile(self, level: int, reduction: int, index: int) -> np.ndarray | None:
        key = (level, index, reduction)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        tile = self._decode(level, index, reduction)
        with self._lock:
            self._cache[key] = tile
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        return tile

    def _decode(self, level: int, index: int, reduction: int) -> np.ndarray | None:
        source = self._levels[level]
        assert source is not None
        length = int(source.lengths[index])
        if length == 0:
            return None
        if length > source.most_bytes:
            raise UnreadableRegion(self._path, f"a native tile of {length} bytes")
        stream = source.prefix + os.pread(self._file, length, int(source.offsets[index]))[2:]
        height, width = source.tile_height // reduction, source.tile_width // reduction
        least = {} if reduction == 1 else {"min_height": height, "min_width": width}
        try:
            check_jpeg_size(stream, source.tile_width, source.tile_height)
            tile = simplejpeg.decode_jpeg(stream, "RGB", **least)
        except ValueError as error:
            raise UnreadableRegion(self._path, str(error)) from error
        tile.flags.writeable = False  # it is shared
        return tile

    def _prove(self) -> None:
        """Compare probe tiles of every level with OpenSlide; drop the levels that differ."""
        for level, source in enumerate(self._levels):
            if source is None or self._equal(level, source):
                continue
            if level == 0:
                raise NotEligible("probe tiles differ from OpenSlide's")
            self._levels[level] = None

    def _equal(self, level: int, source: _Level) -> bool:
        compared = 0
        for index in _probes(source, self._record.downsamples[level])[: 3 if level == 0 else 1]:
            row, column = divmod(index, source.across)
            x, y = column * source.tile_width, row * source.tile_height
            width = min(source.tile_width, source.width - x)
            height = min(source.tile_height, source.height - y)
            try:
                ours = self.read(x, y, level, width, height)
                theirs = self._record.read(x, y, level, width, height)
            except UnreadableRegion:
                continue
            if theirs.valid is not None or not np.array_equal(ours.pixels, theirs.pixels):
                return False
            compared += 1
        return compared > 0


@lru_cache(maxsize=64)
def _reduced(source: _Level, reduction: int) -> _Level:
    sides = ("width", "height", "tile_width", "tile_height")
    return replace(source, **{side: getattr(source, side) // reduction for side in sides})


def _four_rows(level: _Level | None) -> int:
    """How many tiles to keep: a grid that straddles rows needs two; twice that for two threads."""
    assert level is not None
    tile_bytes = level.tile_width * level.tile_height * 3
    return max(min(4 * level.across, CACHE_BYTES // tile_bytes), 8)


def _find_levels(path: str, record: OpenSlideReader) -> list[_Level | None]:
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
            levels = [_as_level(pages, size) for size in record.level_dimensions]
    except (tifffile.TiffFileError, ValueError, OSError) as error:
        raise NotEligible(f"not a TIFF file ({error})") from error
    if levels[0] is None:
        raise NotEligible("level 0 is not tiled 8-bit RGB JPEG")
    return levels


def _as_level(pages: list[tifffile.TiffPage], size: tuple[int, int]) -> _Level | None:
    for page in pages:
        if (page.imagewidth, page.imagelength) != size or not _is_plain_jpeg(page):
            continue
        tables = page.jpegtables[2:-2] if page.jpegtables else b""
        colour = _ADOBE_RGB if page.photometric == tifffile.PHOTOMETRIC.RGB else b""
        level = _Level(
            width=page.imagewidth,
            height=page.imagelength,
            tile_width=page.tilewidth,
            tile_height=page.tilelength,
            offsets=np.asarray(page.dataoffsets, np.int64),
            lengths=np.asarray(page.databytecounts, np.int64),
            prefix=b"\xff\xd8" + colour + tables,
            across=-(-page.imagewidth // page.tilewidth),
        )
        tiles = level.across * -(-level.height // level.tile_height)
        if len(level.offsets) == len(level.lengths) == tiles:
            return level
    return None


def _is_plain_jpeg(page: tifffile.TiffPage) -> bool:
    return bool(
        page.is_tiled
        and page.compression == tifffile.COMPRESSION.JPEG
        and page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
        and page.planarconfig == tifffile.PLANARCONFIG.CONTIG
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.tilewidth <= _MAX_TILE_PX
        and page.tilelength <= _MAX_TILE_PX
    )


def _probes(source: _Level, downsample: float) -> list[int]:
    """Tiles to compare: the fullest, the first and the middle one that hold data.

    OpenSlide interpolates where a level's px do not fall on level-0 px; only tiles whose corner
    does can be compared.
    """
    filled = np.flatnonzero(source.lengths > 0)
    rows, columns = np.divmod(filled, source.across)
    exact = np.ones(len(filled), bool)
    for corner in (columns * source.tile_width, rows * source.tile_height):
        exact &= np.abs(np.rint(corner * downsample) / downsample - corner) < 1e-4
    usable = filled[exact]
    if not len(usable):
        return []
    by_size = usable[np.argsort(-source.lengths[usable], kind="stable")]
    probes = [by_size[0], usable[0], usable[len(usable) // 2], *by_size[1:3]]
    return list(dict.fromkeys(int(index) for index in probes))[:3]
