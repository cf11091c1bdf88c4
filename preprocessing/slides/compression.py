"""How a slide file is compressed: a property of the site that models pick up."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

# The luminance table of the JPEG standard (T.81, table K.1), summed: quality scales it.
_STANDARD_SUM = 3687


@dataclass(frozen=True)
class Compression:
    """Compression of level 0.

    Attributes
    ----------
    name : str
        As TIFF calls it, in lower case; "" where the file is no TIFF.
    quality : int or None
        JPEG quality on the usual scale of 1 to 100, from the quantisation table.
    subsampling : str
        Of the colours, as 420; "" where not JPEG.
    native_tile : (int, int) or None
        Width and height of the file's own tiles or strips, px.
    """

    name: str = ""
    quality: int | None = None
    subsampling: str = ""
    native_tile: tuple[int, int] | None = None


def read_compression(path: str, dimensions: tuple[int, int]) -> Compression:
    """Look at the first filled tile of level 0."""
    try:
        with tifffile.TiffFile(path) as tiff:
            for page in tiff.pages:
                if (
                    isinstance(page, tifffile.TiffPage)
                    and (page.imagewidth, page.imagelength) == dimensions
                ):
                    return _of_page(path, page)
    except (tifffile.TiffFileError, ValueError, OSError):
        return Compression()  # no TIFF: what OpenSlide knows must do
    return Compression()


def _of_page(path: str, page: tifffile.TiffPage) -> Compression:
    tile = (page.tilewidth, page.tilelength)
    if not page.is_tiled:
        tile = (page.imagewidth, min(page.rowsperstrip or page.imagelength, page.imagelength))
    code = page.compression
    name = code.name.lower() if isinstance(code, tifffile.COMPRESSION) else str(code)
    if code != tifffile.COMPRESSION.JPEG:
        return Compression(name=name, native_tile=tile)
    filled = np.flatnonzero(np.asarray(page.databytecounts) > 0)
    if not len(filled):
        return Compression(name=name, native_tile=tile)
    with Path(path).open("rb") as file:
        file.seek(page.dataoffsets[filled[0]])
        stream = file.read(min(page.databytecounts[filled[0]], 1 << 16))
    tables = page.jpegtables or b""
    quality = jpeg_quality(tables) or jpeg_quality(stream)
    return Compression(name, quality, _subsampling(stream), tile)


def jpeg_quality(stream: bytes) -> int | None:
    """Quality of a JPEG stream whose tables scale the standard ones; None if it has no table."""
    for marker, segment in _segments(stream):
        if marker == 0xDB and segment[0] == 0 and len(segment) >= 65:
            scale = 100 * sum(segment[1:65]) / _STANDARD_SUM
            quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
            return round(min(max(quality, 1), 100))
    return None


def _subsampling(stream: bytes) -> str:
    for marker, segment in _segments(stream):
        if marker in (0xC0, 0xC1, 0xC2) and segment[5] == 3:
            return {0x22: "420", 0x21: "422", 0x11: "444", 0x12: "440"}.get(segment[7], "")
    return ""


def _segments(stream: bytes) -> list[tuple[int, bytes]]:
    segments, at = [], 2
    while at + 4 <= len(stream) and stream[at] == 0xFF and stream[at + 1] not in (0xD9, 0xDA):
        marker, length = struct.unpack(">xBH", stream[at : at + 4])
        segments.append((marker, stream[at + 4 : at + 2 + length]))
        at += 2 + length
    return segments
