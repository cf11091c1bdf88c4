"""From a photograph to a square picture of the retina that a network can read."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from offsite.errors import InputError
from offsite.preprocessing.fundus.field_of_view import FieldOfView, find_field, whole_picture
from offsite.preprocessing.fundus.quality import Quality, assess
from offsite.preprocessing.shrinking import halved, halvings
from offsite.settings import Settings

_FINE_PX = 256  # as long as a side has this many px, a block of them is under 0.4 % of it
_RIM = 0.985  # the outermost ring mixes retina and background
_RINGING = 0.92  # beyond it, a filter that knew no mask has drawn a ring
_MATCHED_PX = 224  # the size at which public copies are filtered
_MATCHED_CONTRAST = 24.0  # grey levels, standard deviation


class FundusSettings(Settings):
    """How a photograph is made ready. All sites must be made ready alike."""

    px: int = Field(default=256, ge=16, le=2048, description="Side of the prepared picture, px.")
    enhancement: Literal["none", "graham", "matched", "clahe"] = Field(
        default="none",
        description="none: as photographed; graham: four times the difference from the local mean,"
        " on grey; matched: that at full size, shrunk, and each picture's contrast made equal, for"
        " sites of which one comes filtered; clahe: local histogram equalisation of the lightness.",
    )
    already_cropped: bool = Field(
        default=False,
        description="Take the whole picture as the field of view where no disc is found.",
    )
    max_upsampling: float = Field(
        default=1.5,
        ge=1,
        description="A field of view of less than px / max_upsampling px is refused"
        " (resolution_too_low), and one of less than px marked (low_resolution).",
    )

    @property
    def fill(self) -> int:
        """Grey value outside the field of view (0 to 255)."""
        return 128 if self.enhancement in ("graham", "matched") else 0


@dataclass(frozen=True)
class PreparedPhotograph:
    """A prepared picture and its record.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8, px x px x 3, RGB; outside the field of view ``FundusSettings.fill``.
    field : FieldOfView
        Where the retina lay in the photograph.
    quality : Quality
        Whether it can be graded.
    warnings : tuple of str
        What was unusual: ``squeezed`` (an ellipse was made round again), ``rim_not_fitted``,
        ``no_rim``, ``already_filtered``, ``low_resolution`` (enlarged to ``px``).
    """

    pixels: np.ndarray
    field: FieldOfView
    quality: Quality
    warnings: tuple[str, ...]


def prepare_photograph(pixels: np.ndarray, settings: FundusSettings) -> PreparedPhotograph:
    """Crop to the field of view, make it round and square, resize, enhance, and judge it.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, H x W x 3, RGB.

    Raises
    ------
    InputError
        Code ``no_field_of_view``, ``several_fields`` (two eyes on one page: neither stands for the
        patient) or ``resolution_too_low``.
    """
    field = find_field(pixels)
    if field is None and settings.already_cropped:
        field = whole_picture(pixels)
    if field is None:
        raise InputError(
            "no field of view is found: no lit disc on a plain background",
            remedy="Give a colour photograph of the fundus with its dark surround, or set"
            " already_cropped for pictures without one",
            code="no_field_of_view",
        )
    _check_whole_eye(field, settings)
    square, seen = _cropped(pixels, field, settings.px)
    inside = seen if field.method == "whole" else seen & _disc(settings.px)
    quality = assess(square, inside, field.coverage, filtered=field.filtered)
    warnings = _warnings(field, settings)
    if settings.enhancement == "graham" and not field.filtered:
        square = _graham(square, inside)
    elif settings.enhancement == "matched":
        square, inside = _matched(pixels, field, settings.px)
    elif settings.enhancement == "clahe":
        square = _clahe(square)
    square[~inside] = settings.fill
    return PreparedPhotograph(square, field, quality, warnings)


def _check_whole_eye(field: FieldOfView, settings: FundusSettings) -> None:
    if field.several:
        raise InputError(
            "the picture shows several fields of view",
            remedy="Give each photograph in a file of its own",
            code="several_fields",
        )
    if _diameter(field) * settings.max_upsampling < settings.px:
        raise InputError(
            f"the retina is {_diameter(field):.0f} px wide, too few to be shown at {settings.px} px",
            remedy="Give the photograph and not its thumbnail",
            code="resolution_too_low",
        )


def _diameter(field: FieldOfView) -> float:
    """The field's smaller width, px."""
    return 2 * min(field.radius_x, field.radius_y)


def _warnings(field: FieldOfView, settings: FundusSettings) -> tuple[str, ...]:
    squeeze = max(field.radius_x, field.radius_y) / min(field.radius_x, field.radius_y)
    doubts = {
        "squeezed": field.method in ("ellipse", "box") and squeeze > 1.05,
        "rim_not_fitted": field.method == "box",
        "no_rim": field.method == "whole",
        "already_filtered": field.filtered and settings.fill != 0,
        "low_resolution": _diameter(field) < settings.px,
    }
    return tuple(name for name, true in doubts.items() if true)


def _cropped(pixels: np.ndarray, field: FieldOfView, px: int) -> tuple[np.ndarray, np.ndarray]:
    """The bounding square of the field at px x px, and which of its pixels the picture holds."""
    left, right = field.centre_x - field.radius_x, field.centre_x + field.radius_x
    top, bottom = field.centre_y - field.radius_y, field.centre_y + field.radius_y
    times = halvings(min(right - left, bottom - top), max(px, _FINE_PX))
    x0, x1 = _in_blocks(left, right, 2**times)
    y0, y1 = _in_blocks(top, bottom, 2**times)
    height, width = pixels.shape[:2]
    inner = pixels[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    pad = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    framed = cv2.copyMakeBorder(inner, *pad, cv2.BORDER_REPLICATE) if any(pad) else inner
    picture = halved(framed, times)
    shrinks = min(picture.shape[:2]) > px
    square = cv2.resize(
        picture, (px, px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    down, across = _held(y1 - y0, pad[:2], px), _held(x1 - x0, pad[2:], px)
    return square, down[:, None] & across[None]


def _held(length: int, pad: tuple[int, ...], px: int) -> np.ndarray:
    """Which of ``px`` places along a side of ``length`` px lie within the picture, not its pad."""
    places = np.arange(px) * length // px
    return np.asarray((places >= pad[0]) & (places < length - pad[1]))


def _in_blocks(low: float, high: float, block: int) -> tuple[int, int]:
    """An interval in whole px, of the nearest length that is a multiple of the block."""
    if block == 1:
        return round(low), round(high)
    length = round((high - low) / block) * block
    start = round((low + high - length) / 2)
    return start, start + length


def _disc(px: int, radius: float = _RIM) -> np.ndarray:
    axis = (np.arange(px) + 0.5) / px * 2 - 1
    return np.asarray(axis[None] ** 2 + axis[:, None] ** 2 <= radius**2)


def _graham(square: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """4 (I - mean of I around) + 128 (Graham 2015, Kaggle diabetic retinopathy, winning report).

    The mean (Gaussian, sd a thirtieth of the radius) is over pixels inside the field alone, so the
    rim throws no halo and needs no cutting off; that is our construction.
    """
    sd = len(square) / 60
    mask = inside.astype(np.float32)
    picture = square.astype(np.float32)
    weight = cv2.GaussianBlur(mask, (0, 0), sd)[..., None] + 1e-6
    mean = cv2.GaussianBlur(picture * mask[..., None], (0, 0), sd) / weight
    return np.clip(4 * (picture - mean) + 128, 0, 255).round().astype(np.uint8)


def _matched(pixels: np.ndarray, field: FieldOfView, px: int) -> tuple[np.ndarray, np.ndarray]:
    """The filtered picture with its mean on grey and one contrast for all, and its own inside.

    A copy that was filtered before it was shrunk has little left of what the filter let through,
    and a picture filtered after shrinking much: so all are filtered large and shrunk, and then
    brought to the same standard deviation. The rim, where a filter rings, is left out. Our
    construction.
    """
    large = max(px, _MATCHED_PX)
    square, seen = _cropped(pixels, field, large)
    whole = field.method == "whole"
    inside = seen if whole else seen & _disc(large)
    if not field.filtered:
        square = _graham(square, inside)
    square[~inside] = 128
    small = cv2.resize(square, (px, px), interpolation=cv2.INTER_AREA).astype(np.float32)
    kept = cv2.resize(inside.astype(np.uint8), (px, px), interpolation=cv2.INTER_NEAREST) > 0
    kept = kept if whole else kept & _disc(px, _RINGING)
    centred = small - small[kept].mean(axis=0)
    contrast = float(np.sqrt((centred[kept] ** 2).mean()))
    matched = 128 + centred * (_MATCHED_CONTRAST / max(contrast, 1.0))
    return np.clip(matched, 0, 255).round().astype(np.uint8), kept


def _clahe(square: np.ndarray) -> np.ndarray:
    lab = cv2.cvtColor(square, cv2.COLOR_RGB2LAB)
    lightness = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lab[..., 0])
    lab[..., 0] = lightness
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
