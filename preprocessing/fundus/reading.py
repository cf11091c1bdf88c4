"""Picture files of photographs: bounded before they are decoded, and refused where cut short."""

import warnings
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from offsite.children.budget import room_for
from offsite.errors import InputError
from offsite.files import plain_bytes
from offsite.preprocessing.formats.kinds import kind_of_bytes
from offsite.preprocessing.formats.photographs import PHOTOGRAPHS
from offsite.preprocessing.fundus.dicom import dicom_pixels
from offsite.preprocessing.fundus.refusals import (
    A_SLIDE,
    MAX_BYTES,
    check_size,
    damaged,
    not_an_image,
    of_the_system,
    too_large,
    unsupported,
    wrong_kind,
)
from offsite.preprocessing.shrinking import halved, halvings

_SHOWN_PX = 1024  # longer side that a person looks at, and in which the field is found
_FINE_PX = 512  # shorter side below which nothing is taken away
_ORIENTATION = 0x0112
# Sizes are bounded here, and more strictly.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_CUT_SHORT = "the file is damaged or cut short"
# A camera adds a second, smaller picture to a JPEG (MPO); the first is the photograph.
_ONE_PICTURE = ("JPEG", "MPO")


@dataclass(frozen=True)
class Photograph:
    """A photograph at the size that is worked with.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8, H x W x 3, RGB, upright: the picture or its exact half, quarter or eighth.
    width, height : int
        Of the picture in its file, px.
    sha256 : str
        Of the bytes that were decoded; "" where a library read the file itself.
    """

    pixels: np.ndarray
    width: int
    height: int
    sha256: str = ""

    @classmethod
    def of(cls, pixels: np.ndarray, px: int) -> "Photograph":
        """Take decoded pixels, and make them smaller as `read_photograph` does."""
        height, width = pixels.shape[:2]
        return cls(halved(pixels, _halvings_for(width, height, px)), width, height)


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    jpeg: bool
    plain_jpeg: bool  # an upright RGB JPEG


def read_photograph(path: str | Path, px: int) -> Photograph:
    """Read a picture file to be prepared at ``px``, large ones at a half, a quarter or an eighth.

    As long as the longer side keeps 1,024 px and the shorter 512 px and twice ``px``, the picture
    is halved; of a JPEG the decoder leaves out the finest cosines, which costs half the time. All
    ways to a picture halve alike, so that training and prediction see the same.

    What a file is its content says and not its name: one of
    `offsite.preprocessing.formats.photographs.PHOTOGRAPHS`, with one picture in it. One that ends
    too soon or is damaged is refused: a decoder that paints the missing part grey would let a model
    be trained on it, and answer. It is read once: what is checked, hashed and decoded are the same
    bytes (of DICOM pydicom reads the file).

    Raises
    ------
    InputError
        Code ``missing_file``, ``not_an_image``, ``wrong_kind`` (a slide), ``unsupported`` (several
        pictures, or no decoder for it here), ``unreadable_image``, ``too_large`` or ``too_small``.
    """
    file = Path(path)
    try:
        there = file.exists()
    except OSError as error:
        raise of_the_system(file, error) from error
    if not there:
        raise InputError(
            "no such photograph", file=file, remedy="Check the path", code="missing_file"
        )
    return photograph_of(file, photograph_bytes(file), px)


def photograph_bytes(file: Path) -> bytes:
    """Return what a picture file holds, of which no more is known than that it is not too much.

    Raises
    ------
    InputError
        See `read_photograph`.
    """
    try:
        content = plain_bytes(file, MAX_BYTES)
    except OSError as error:
        raise of_the_system(file, error) from error
    if content is None:
        raise too_large(file, f"more than {MAX_BYTES >> 20} MiB")
    if not content:
        raise damaged(file, "the file is empty")
    return content


def photograph_of(file: Path, content: bytes, px: int) -> Photograph:
    """Decode what `photograph_bytes` returned; see `read_photograph`."""
    kind = kind_of_bytes(content)
    if kind not in PHOTOGRAPHS:
        raise not_an_image(file)
    if kind == "dicom":
        return Photograph.of(dicom_pixels(file), px)
    if kind == "tiff" and _is_slide(file):
        raise wrong_kind(file, A_SLIDE)
    header = _checked_header(file, content)
    with room_for(header.width * header.height):
        decoded = _decoded(file, content, header, px)
    return replace(decoded, sha256=sha256(content).hexdigest())


def _decoded(file: Path, content: bytes, header: _Header, px: int) -> Photograph:
    try:
        if header.plain_jpeg:
            return _from_jpeg(content, header, px)
        if header.jpeg:
            _check_whole_jpeg(content)
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except (ValueError, cv2.error) as error:
        raise damaged(file, _CUT_SHORT) from error
    if decoded is None:
        raise damaged(file, _CUT_SHORT)
    return Photograph.of(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), px)


def _halvings_for(width: int, height: int, px: int) -> int:
    shorter = max(_FINE_PX, 2 * px)
    return min(halvings(max(width, height), _SHOWN_PX), halvings(min(width, height), shorter), 3)


def _from_jpeg(content: bytes, header: _Header, px: int) -> Photograph:
    """At full size the same pixels as OpenCV's, in half the time, and strict."""
    block = 2 ** _halvings_for(header.width, header.height, px)
    pixels = simplejpeg.decode_jpeg(
        content,
        "RGB",
        strict=True,
        min_factor=block,
        min_height=-(-header.height // block),
        min_width=-(-header.width // block),
    )
    return Photograph(np.asarray(pixels), header.width, header.height)


def _checked_header(file: Path, content: bytes) -> _Header:
    """Refuse by the header alone what would fill the memory; then what does not come to its end."""
    try:
        with Image.open(BytesIO(content)) as image:
            check_size(file, *image.size)
            if image.format not in _ONE_PICTURE and _has_a_second(content):
                raise unsupported(file, "several pictures in one file")
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            plain_jpeg = image.format == "JPEG" and image.mode == "RGB" and upright
            if image.format not in _ONE_PICTURE:  # of a JPEG the reader sees to all of it
                with room_for(image.width * image.height):
                    image.load()
            jpeg = kind_of_bytes(content) == "jpeg"
            return _Header(*image.size, jpeg, plain_jpeg)
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise too_large(file, "far more pixels than a photograph has") from error
    except Exception as error:  # whatever a damaged file makes the library stumble over
        raise damaged(file, _CUT_SHORT) from error


def _has_a_second(content: bytes) -> bool:
    """Whether a file holds more than one picture; they are not counted, which may take minutes."""
    with Image.open(BytesIO(content)) as image:
        try:
            image.seek(1)
        except EOFError:
            return False
        return True


def _is_slide(file: Path) -> bool:
    import openslide

    return openslide.OpenSlide.detect_format(file) not in (None, "generic-tiff")


def _check_whole_jpeg(content: bytes) -> None:
    """Decode every byte, but to an eighth of the size: a twentieth of the work."""
    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        if "unsupported color conversion" not in str(error).lower():
            raise  # CMYK has no grey; OpenCV reads it
