"""Decode one tile or strip of a TIFF, by the library that knows its compression.

JPEG by simplejpeg, which is strict; Deflate by zlib, whose checksum libtiff would not ask for; WebP and
JPEG 2000 by Pillow; LZW, PackBits, Zstandard and LZMA by libtiff, through Pillow, which is handed the
segment as a small TIFF of its own. What a stream says of its size is compared with the segment's before
it is decoded. LZW, PackBits, Zstandard, WebP and JPEG 2000 carry no checksum: of damage within them only
what breaks their grammar or their end is found, and other bits give other px. In WebP not even zeros in place
of the second half of a tile are: its decoder takes any bits, and a whole tile whose lower part is flat ends in as
many zeros where its writer was hasty (1,244 of 11,486 bytes at libwebp's method 0), with the same picture.
"""

import io
import struct
import zlib

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from offsite.preprocessing.slides.tiff_pages import TiffLevel

NONE, JPEG = 1, 7
WEBP = 50001
JPEG_2000 = (33003, 33005, 34712)
DEFLATE = (8, 32946)
BY_LIBTIFF = (5, 32773, 34925, 50000)
"""LZW, PackBits, LZMA, Zstandard."""
OF_ITS_OWN_COLOURS = (JPEG, WEBP, *JPEG_2000)
"""Those that know YCbCr; of the others it would lie in the file with its colours at a fourth of the px."""
READ = (NONE, JPEG, WEBP, *JPEG_2000, *DEFLATE, *BY_LIBTIFF)
_DIFFERENCES = 2
_RGB, _YCBCR, _GREY = 2, 6, 1
# APP14 with transform 0: the components are RGB as they are. A JFIF head says that they are not, and
# is believed: writers that put one there convert, whatever TIFF's tag says.
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def decode_segment(level: TiffLevel, stream: bytes, rows: int) -> np.ndarray:
    """Decode a segment.

    Returns
    -------
    numpy.ndarray
        ``rows`` x tile width x 3 (RGB), or x 1 for one plane of several; uint8.

    Raises
    ------
    ValueError
        It is damaged, or not of the size that the file says.
    """
    size = (level.tile_width, rows)
    if level.compression == NONE:
        pixels = _raw(stream, size, level.samples)
    elif level.compression == JPEG:
        pixels = _jpeg(level, stream, size)
    elif level.compression in DEFLATE:
        pixels = _raw(_inflated(stream, size[0] * size[1] * level.samples), size, level.samples)
        if level.predictor == _DIFFERENCES:
            pixels = np.add.accumulate(pixels, axis=1, dtype=np.uint8)
    elif level.compression == WEBP:
        pixels = _by_pillow(stream, "WEBP", size)
    elif level.compression in JPEG_2000:
        if stream.rstrip(b"\0")[-2:] != b"\xff\xd9":  # its decoder would make something of it
            raise ValueError("a segment is cut short")
        pixels = _by_pillow(stream, "JPEG2000", size)
    else:
        pixels = _by_pillow(_as_tiff(level, stream, size), "TIFF", size)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if level.planes == 1:
        if pixels.shape[2] not in (3, 4):
            raise ValueError(f"a segment of {pixels.shape[2]} colours")
        pixels = pixels[..., :3]
        if level.photometric == _YCBCR and level.compression in JPEG_2000:
            pixels = np.asarray(Image.fromarray(pixels, "YCbCr").convert("RGB"))
    return np.ascontiguousarray(pixels[..., : 3 if level.planes == 1 else 1])


def check_jpeg_size(stream: bytes, width: int, height: int) -> None:
    """Refuse a JPEG stream of another size than it should have; none of its pixels is decoded.

    Raises
    ------
    ValueError
        It says another size in px, or nothing that can be read.
    """
    try:
        tall, wide, *_ = simplejpeg.decode_jpeg_header(stream, strict=False)
    except KeyError as error:  # a kind of colours that it does not know
        raise ValueError("a segment is damaged") from error
    if (wide, tall) != (width, height):
        raise ValueError(f"a segment of {wide} x {tall} px where {width} x {height} belong")


def most_bytes(values: int) -> int:
    """How long a compressed segment of so many values (px times colours) may be to be read at all."""
    return 4 * values + (1 << 16)


def _raw(stream: bytes, size: tuple[int, int], samples: int) -> np.ndarray:
    wanted = size[0] * size[1] * samples
    if len(stream) < wanted:
        raise ValueError("a segment is cut short")
    return np.frombuffer(stream, np.uint8, wanted).reshape(size[1], size[0], samples)


def _inflated(stream: bytes, size: int) -> bytes:
    """At most ``size`` bytes and one, of a stream that must be whole."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(stream, size + 1)
    except zlib.error as error:
        raise ValueError(f"a segment is damaged ({error})") from error
    if len(content) != size or not inflater.eof:
        raise ValueError("a segment is not of the size that the file says")
    return content


def _jpeg(level: TiffLevel, stream: bytes, size: tuple[int, int]) -> np.ndarray:
    jfif = stream[2:4] == b"\xff\xe0" and stream[6:10] == b"JFIF"
    colour = _ADOBE_RGB if level.photometric == _RGB and level.planes == 1 and not jfif else b""
    whole = b"\xff\xd8" + colour + level.tables + stream[2:]
    check_jpeg_size(whole, *size)
    decoded: np.ndarray = simplejpeg.decode_jpeg(whole, "RGB" if level.planes == 1 else "GRAY")
    return decoded


def _by_pillow(stream: bytes, kind: str, size: tuple[int, int]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(stream), formats=[kind]) as image:
            if image.size != size:
                raise ValueError(f"a segment of {image.size[0]} x {image.size[1]} px")
            if image.mode not in ("RGB", "RGBA", "L", "RGBX"):
                raise ValueError(f"a segment of the kind {image.mode}")
            return np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a segment is damaged ({error})") from error


def _as_tiff(level: TiffLevel, stream: bytes, size: tuple[int, int]) -> bytes:
    """One segment as a TIFF of one strip."""
    samples, bits_at = level.samples, 8 + 2 + 12 * 10 + 4
    pixels_at = bits_at + 2 * samples
    photometric = _RGB if samples >= 3 else _GREY
    entries = [
        (256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, samples, bits_at if samples > 2 else 8),
        (259, 3, 1, level.compression), (262, 3, 1, photometric), (273, 4, 1, pixels_at),
        (277, 3, 1, samples), (278, 4, 1, size[1]), (279, 4, 1, len(stream)),
        (317, 3, 1, level.predictor),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    head += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return head + struct.pack(f"<{samples}H", *[8] * samples) + stream
