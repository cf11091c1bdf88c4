"""Picture files of photographs: bounded before they are decoded, and refused where cut short."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from offsite.errors import InputError
from offsite.files import check_plain
from offsite.preprocessing.shrinking import halved, halvings

MAX_PIXELS = 100_000_000
_SHOWN_PX = 1024  # longer side that a person looks at, and in which the field is found
_FINE_PX = 512  # shorter side below which nothing is taken away
_MIN_SIDE = 16
_ORIENTATION = 0x0112
# Sizes are bounded here, and more strictly.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Photograph:
    """A photograph at the size that is worked with.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8, H x W x 3, RGB, upright: the picture or its exact half, quarter or eighth.
    width, height : int
        Of the picture in its file, px.
    """

    pixels: np.ndarray
    width: int
    height: int

    @classmethod
    def of(cls, pixels: np.ndarray, px: int) -> "Photograph":
        """Take decoded pixels, and make them smaller as `read_photograph` does."""
        height, width = pixels.shape[:2]
        return cls(halved(pixels, _halvings_for(width, height, px)), width, height)


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    plain_jpeg: bool  # an upright RGB JPEG


def read_photograph(path: str | Path, px: int) -> Photograph:
    """Read a picture file to be prepared at ``px``, large ones at a half, a quarter or an eighth.

    As long as the longer side keeps 1,024 px and the shorter 512 px and twice ``px``, the picture
    is halved; of a JPEG the decoder leaves out the finest cosines, which costs half the time. All
    ways to a picture halve alike, so that training and prediction see the same.

    A JPEG that ends too soon or is damaged is refused: a decoder that paints the missing part grey
    would let a model be trained on it, and answer.

    Raises
    ------
    InputError
        Code ``missing_file``, ``unreadable_image``, ``too_large`` or ``too_small``.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            "no such photograph", file=file, remedy="Check the path", code="missing_file"
        )
    try:
        check_plain(file)
    except OSError as error:
        raise _damaged(file, "not a plain file") from error
    header = _checked_header(file)
    content = file.read_bytes()
    try:
        if header.plain_jpeg:
            return _from_jpeg(content, header, px)
        if content.startswith(b"\xff\xd8"):
            _check_whole_jpeg(content)
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except (ValueError, cv2.error) as error:
        raise _damaged(file, "cannot be read as a picture, or is cut short") from error
    if decoded is None:
        raise _damaged(file, "cannot be read as a picture")
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


def _checked_header(file: Path) -> _Header:
    """Refuse by the header alone what would fill the memory."""
    try:
        with Image.open(file) as header:
            width, height = header.size
            upright = header.getexif().get(_ORIENTATION, 1) == 1
            plain_jpeg = header.format == "JPEG" and header.mode == "RGB" and upright
    except Image.DecompressionBombError as error:
        raise _too_large(file, "it has far more px") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise _damaged(file, "cannot be read as a picture") from error
    if width * height > MAX_PIXELS:
        raise _too_large(file, f"{width} x {height} px is more")
    if min(width, height) < _MIN_SIDE:
        raise InputError(
            f"{width} x {height} px is too small to show a retina",
            file=file,
            remedy="Give the photograph and not its thumbnail",
            code="too_small",
        )
    return _Header(width, height, plain_jpeg)


def _check_whole_jpeg(content: bytes) -> None:
    """Decode every byte, but to an eighth of the size: a twentieth of the work."""
    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        if "unsupported color conversion" not in str(error).lower():
            raise  # CMYK has no grey; OpenCV reads it


def _too_large(file: Path, size: str) -> InputError:
    problem = f"{size} than {MAX_PIXELS // 1_000_000} million"
    return InputError(problem, file=file, remedy="Export it smaller", code="too_large")


def _damaged(file: Path, problem: str) -> InputError:
    return InputError(
        problem,
        file=file,
        code="unreadable_image",
        remedy="Export the photograph again as JPEG, PNG or TIFF",
    )
