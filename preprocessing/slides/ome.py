"""What OME-XML and QPTIFF descriptions say of a picture: its scale, its channels, its objective.

Descriptions are text of whoever sent the file: bounded, and without entities, which could grow.
"""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

_MOST_CHARS = 2_000_000
_UM = {
    "": 1.0, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6,
}  # fmt: skip


@dataclass(frozen=True)
class Described:
    """What a description says.

    Attributes
    ----------
    kind : str
        ``ome`` or ``qptiff``.
    mpp : (float, float) or None
        um per px in x and y.
    magnification : str
        Of the objective; "" where not stated.
    channels : int
        Channels of one sample each; 0 where the picture is in colour or nothing is said.
    image_type : str
        QPTIFF's word for a page: FullResolution, ReducedResolution, Thumbnail, Overview, Label.
    """

    kind: str
    mpp: tuple[float, float] | None = None
    magnification: str = ""
    channels: int = 0
    image_type: str = ""


def described(text: str, size: tuple[int, int] | None = None) -> Described | None:
    """Read a description; None where it is neither OME-XML nor QPTIFF's.

    Parameters
    ----------
    size : (int, int), optional
        Width and height of the picture, px: of several images in OME-XML the one of this size.

    Examples
    --------
    >>> pixels = '<Pixels SizeX="9" SizeY="7" PhysicalSizeX="250" PhysicalSizeXUnit="nm"/>'
    >>> described(f'<OME><Image>{pixels}</Image></OME>').mpp
    (0.25, 0.25)
    """
    if not ("<OME" in text or "PerkinElmer-QPI" in text) or len(text) > _MOST_CHARS:
        return None
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        return None
    try:
        root = ElementTree.fromstring(text.strip().rstrip("\0"))  # noqa: S314 -- bounded, no entities
    except (ElementTree.ParseError, ValueError):
        return None
    if _name(root) == "OME":
        return _of_ome(root, size)
    return _of_qptiff(root) if _name(root).startswith("PerkinElmer-QPI") else None


def _of_ome(root: ElementTree.Element, size: tuple[int, int] | None) -> Described:
    images = [one for one in root.iter() if _name(one) == "Pixels"]
    sized = [one for one in images if size and _size(one) == size]
    pixels = next(iter(sized or images), None)
    if pixels is None:
        return Described("ome")
    x, y = (_um(pixels, f"PhysicalSize{axis}") for axis in "XY")
    mpp = None if x is None and y is None else (x or y or 0.0, y or x or 0.0)
    samples = [one.get("SamplesPerPixel", "1") for one in pixels if _name(one) == "Channel"]
    grey = len(samples) if samples and set(samples) == {"1"} else 0
    objective = next((one for one in root.iter() if _name(one) == "Objective"), None)
    magnification = "" if objective is None else objective.get("NominalMagnification", "")
    return Described("ome", mpp, magnification, grey)


def _of_qptiff(root: ElementTree.Element) -> Described:
    def text_of(name: str) -> str:
        return next((one.text or "" for one in root.iter() if _name(one) == name), "").strip()

    return Described(
        "qptiff",
        magnification=text_of("Objective").lower().rstrip("x "),
        image_type=text_of("ImageType"),
    )


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _size(pixels: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return int(pixels.get("SizeX", "")), int(pixels.get("SizeY", ""))
    except ValueError:
        return None


def _um(pixels: ElementTree.Element, name: str) -> float | None:
    try:
        return float(pixels.get(name, "")) * _UM[pixels.get(f"{name}Unit", "")]
    except (ValueError, KeyError):
        return None
