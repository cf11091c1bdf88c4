"""Photographs as they come: what is not one, and what would fill the memory.

Pixels are read by `preprocessing.fundus`, as in training; here stands what a training set was
spared.
"""

from pathlib import Path

from offsite.errors import InputError
from offsite.preprocessing.fundus.reading import MAX_PIXELS, Photograph, read_photograph
from offsite.workflows.predict.answers.codes import Code
from offsite.workflows.predict.inputs.dicom_photographs import dicom_pixels
from offsite.workflows.predict.inputs.items import Item
from offsite.workflows.predict.inputs.kinds import kind_of
from offsite.workflows.predict.predictors.contract import Rejected

MAX_BYTES = 512 << 20
_PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})
_CODES = {
    "missing_file": Code.NOT_FOUND,
    "unreadable_image": Code.UNREADABLE,
    "too_large": Code.TOO_LARGE,
    "too_small": Code.UNGRADABLE,
}
_MANY = frozenset({"gif", "webp", "tiff", "png"})


def photograph_of(item: Item, px: int) -> Photograph:
    """Read an input that is to be prepared at ``px``.

    Raises
    ------
    Rejected
        Not an image, a slide, cut short, animated, too large.
    """
    path = item.path
    if path.stat().st_size > MAX_BYTES:
        raise Rejected(Code.TOO_LARGE, f"more than {MAX_BYTES >> 20} MiB")
    kind = kind_of(path)
    if not kind:
        if path.suffix.lower() in _PICTURE_SUFFIXES:
            raise Rejected(Code.NOT_AN_IMAGE, "not an image, in spite of its name")
        raise Rejected(Code.NOT_AN_IMAGE, "the file is not an image")
    if kind == "dicom":
        return Photograph.of(dicom_pixels(path), px)
    if kind == "tiff" and _is_slide(path):
        raise Rejected(Code.WRONG_KIND, "a slide, not a photograph")
    if kind != "jpeg":  # of a JPEG the reader sees to all of it
        _check_size(path)
        _check_whole(path, kind)
    try:
        return read_photograph(path, px)
    except InputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno:  # the disk's fault may be none of the file's
            raise cause from error
        code = _CODES.get(error.code, Code.UNREADABLE)
        raise Rejected(code, error.problem) from error


def _is_slide(path: Path) -> bool:
    import openslide

    return openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff")


def _check_size(path: Path) -> None:
    """The header alone: a small file can stand for a picture that fills the memory."""
    from PIL import Image

    try:
        with Image.open(path) as header:
            width, height = header.size
    except Image.DecompressionBombError:
        raise Rejected(Code.TOO_LARGE, "far more pixels than a photograph has") from None
    except Exception as error:  # whatever the header made the library stumble over
        raise _damaged(error) from error
    if width * height > MAX_PIXELS:
        text = f"{width} x {height} px is more than {MAX_PIXELS // 1_000_000} million"
        raise Rejected(Code.TOO_LARGE, text)


def _check_whole(path: Path, kind: str) -> None:
    """Refuse a file that ends too soon or holds several pictures."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if kind in _MANY and getattr(image, "n_frames", 1) > 1:
                raise Rejected(Code.UNSUPPORTED, "several pictures in one file")
            image.load()
    except Rejected:
        raise
    except Exception as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> Exception:
    """What to say of a file that a library stumbled over; a fault of the disk stays one."""
    if isinstance(error, OSError) and error.errno:
        return error
    return Rejected(Code.UNREADABLE, "the file is damaged or cut short")
