"""The physical size of a pixel: resolved in a fixed order, checked, never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from offsite.errors import InputError
from offsite.preprocessing.slides.ome import described

PLAUSIBLE_UM = (0.05, 20.0)
MAX_ANISOTROPY = 0.02
MAX_CONTRADICTION = 1.2
"""Statements of one file's scale may differ by this factor."""
MAX_OF_MAGNIFICATION = 1.5
"""A scanner's magnification M stands for 10 / M um per px, give or take this factor."""
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

    ``source`` is ``override``, ``openslide``, ``vendor:<key>``, ``ome`` or ``tiff``.
    """

    mpp: float
    source: str


def resolve_scale(
    properties: Mapping[str, str], *, override: float | None = None, file: str | Path | None = None
) -> Scale:
    """Find um per px: the override, else OpenSlide's, the vendor's key, OME-XML's, the TIFF tag's.

    Nothing is taken from the objective power: scanners of the same nominal power differ by 15 %. It
    only contradicts, where Aperio's scanners state it.

    Raises
    ------
    InputError
        ``mpp_missing`` if nothing states it, ``mpp_anisotropic`` if x and y differ by more than
        2 %, ``mpp_implausible`` outside 0.05 to 20 um per px, ``mpp_contradicted`` where the file
        states two scales. The first source that states a value decides: a wrong one is refused,
        not passed over.
    """
    if override is not None:
        return _checked(override, override, "override", file)
    stated = _stated(properties)
    if stated:
        first, x, y = stated[0]
        scale = _checked(x, y, first, file)
        _refuse_contradiction(scale, stated[1:], properties, file)
        return scale
    raise InputError(
        "the slide does not say how many um a pixel is",
        file=file,
        column="mpp",
        remedy=_REMEDY,
        code="mpp_missing",
    )


def _refuse_contradiction(
    scale: Scale,
    others: list[tuple[str, float, float]],
    properties: Mapping[str, str],
    file: str | Path | None,
) -> None:
    """Compare what a file states with what else it states; what no scanner gives states nothing."""
    low, high = PLAUSIBLE_UM
    claims = [
        (f"{(x * y) ** 0.5:.4g} um per px ({source})", (x * y) ** 0.5, MAX_CONTRADICTION)
        for source, x, y in others
        if low <= min(x, y) and max(x, y) <= high
    ]
    power = _number(properties, "aperio.AppMag")
    if power is not None and 1 <= power <= 200:
        claims.append((f"a magnification of {power:g} (AppMag)", 10 / power, MAX_OF_MAGNIFICATION))
    for words, mpp, factor in claims:
        if not 1 / factor <= scale.mpp / mpp <= factor:
            raise InputError(
                f"the file contradicts itself: {scale.mpp:.4g} um per px ({scale.source}) and {words}",
                file=file,
                column="mpp",
                remedy=_REMEDY,
                code="mpp_contradicted",
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
    said = described(properties.get("tiff.ImageDescription", ""), _size(properties))
    if said is not None and said.mpp is not None:
        scales.append(("ome", *said.mpp))
    unit = _UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", "").lower())
    x, y = _number(properties, "tiff.XResolution"), _number(properties, "tiff.YResolution")
    if unit and x and y:
        scales.append(("tiff", unit / x, unit / y))
    return scales


def _size(properties: Mapping[str, str]) -> tuple[int, int] | None:
    width, height = (
        properties.get(f"openslide.level[0].{side}", "") for side in ("width", "height")
    )
    return (int(width), int(height)) if width.isdigit() and height.isdigit() else None


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
