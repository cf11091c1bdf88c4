"""The physical size of a pixel: resolved in a fixed order, checked, never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from offsite.errors import InputError

PLAUSIBLE_UM = (0.05, 20.0)
MAX_ANISOTROPY = 0.02
_VENDOR_KEYS = (
    ("aperio.MPP", "aperio.MPP"),
    ("hamamatsu.XResolution", "hamamatsu.YResolution"),  # px per cm
    ("philips.DICOM_PIXEL_SPACING", "philips.DICOM_PIXEL_SPACING"),  # mm, "row" "column"
    ("ventana.ScanRes", "ventana.ScanRes"),
    ("trestle.MPP", "trestle.MPP"),
)
_UM_PER_UNIT = {"centimeter": 1e4, "inch": 25_400.0}
_REMEDY = (
    "Give the true um per px of this slide in the column 'mpp' of the cohort table or worklist"
    " (from Python: open_slide(path, mpp=...))"
)


@dataclass(frozen=True)
class Scale:
    """um per px of level 0, and where the figure comes from.

    ``source`` is ``override``, ``openslide``, ``vendor:<key>`` or ``tiff``.
    """

    mpp: float
    source: str


def resolve_scale(
    properties: Mapping[str, str], *, override: float | None = None, file: str | Path | None = None
) -> Scale:
    """Find um per px: the override, else OpenSlide's, else the vendor's key, else the TIFF tag.

    The objective power is never used: scanners of the same nominal power differ by 15 %.

    Raises
    ------
    InputError
        ``mpp_missing`` if nothing states it, ``mpp_anisotropic`` if x and y differ by more than
        2 %, ``mpp_implausible`` outside 0.05 to 20 um per px. The first source that states a
        value decides: a wrong one is refused, not passed over.
    """
    if override is not None:
        return _checked(override, override, "override", file)
    for source, x, y in _stated(properties):
        return _checked(x, y, source, file)
    raise InputError(
        "the slide does not say how many um a pixel is",
        file=file,
        column="mpp",
        remedy=_REMEDY,
        code="mpp_missing",
    )


def _stated(properties: Mapping[str, str]) -> list[tuple[str, float, float]]:
    scales = []
    x, y = _number(properties, "openslide.mpp-x"), _number(properties, "openslide.mpp-y")
    x, y = (y if x is None else x), (x if y is None else y)
    if x is not None and y is not None:
        scales.append(("openslide", x, y))
    for key_x, key_y in _VENDOR_KEYS:
        x, y = _vendor_um(properties, key_x, 1), _vendor_um(properties, key_y, 0)
        if x is not None and y is not None:
            scales.append((f"vendor:{key_x}", x, y))
    unit = _UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", "").lower())
    x, y = _number(properties, "tiff.XResolution"), _number(properties, "tiff.YResolution")
    if unit and x and y:
        scales.append(("tiff", unit / x, unit / y))
    return scales


def _number(properties: Mapping[str, str], key: str) -> float | None:
    try:
        value = float(properties.get(key, "").strip().replace(",", "."))
    except ValueError:
        return None
    return value if value == value else None


def _vendor_um(properties: Mapping[str, str], key: str, position: int) -> float | None:
    if key == "philips.DICOM_PIXEL_SPACING":
        parts = properties.get(key, "").replace('"', " ").split()
        try:
            return float(parts[position]) * 1e3
        except (IndexError, ValueError):
            return None
    value = _number(properties, key)
    if value and key.startswith("hamamatsu"):
        return 1e4 / value
    return value


def _checked(x: float, y: float, source: str, file: str | Path | None) -> Scale:
    low, high = PLAUSIBLE_UM
    for value in (x, y):
        if not low <= value <= high:
            raise InputError(
                f"{value:.6g} um per px (from {source}) is not plausible; scanners give 0.1 to 10",
                file=file,
                column="mpp",
                remedy=_REMEDY,
                code="mpp_implausible",
            )
    mpp = (x * y) ** 0.5
    if abs(x - y) > MAX_ANISOTROPY * mpp:
        raise InputError(
            f"pixels are not square: {x:.6g} by {y:.6g} um (from {source})",
            file=file,
            column="mpp",
            remedy=_REMEDY,
            code="mpp_anisotropic",
        )
    return Scale(mpp=mpp, source=source)
