"""The slide formats: their suffixes, and what opens each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from PIL import ImageCms

from offsite.preprocessing.slides.region import Region
from offsite.registry import Registry


class NotThisFormat(Exception):
    """The file is of another format than the one that was asked to open it."""


class SlideFile(Protocol):
    """An open slide of some format; safe to read from several threads.

    Attributes
    ----------
    name : str
        The reader's.
    level_dimensions : tuple of (int, int)
        Width and height of each level, px; level 0 is the largest.
    downsamples : tuple of float
        Of each level, to level 0.
    properties : mapping of str to str
        What the file says of itself, under OpenSlide's names (``openslide.mpp-x``, ...).
    colour_profile : ImageCmsProfile or None
        Embedded in the file.
    """

    name: str
    level_dimensions: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    properties: Mapping[str, str]

    @property
    def colour_profile(self) -> ImageCms.ImageCmsProfile | None:
        """The embedded profile."""

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        """Read a rectangle; corner and size in px of the level.

        What lies outside is white and no data; damage raises
        `offsite.preprocessing.slides.region.UnreadableRegion`.
        """

    def close(self) -> None:
        """Release the file."""


@dataclass(frozen=True)
class Format:
    """A family of files that one reader opens.

    Attributes
    ----------
    name : str
        The formats as people call them.
    suffixes : tuple of str
        Ends of names, lower case. Content decides; they say where to look for slides.
    address : str
        ``"module:function"`` that takes a path and gives a `SlideFile`. It raises `NotThisFormat`
        for a file of another format, `InputError` for a damaged one.
    package : str
        An optional package that reading needs, as it is imported; "" where none.
    """

    name: str
    suffixes: tuple[str, ...]
    address: str
    package: str = ""


FORMATS: dict[str, Format] = {  # tried in this order
    "openslide": Format(
        "SVS, tiled TIFF, NDPI, MRXS, SCN, BIF, VMS, DICOM",
        (
            ".tif",
            ".tiff",
            ".svs",
            ".ndpi",
            ".mrxs",
            ".scn",
            ".bif",
            ".vms",
            ".vmu",
            ".svslide",
            ".dcm",
        ),
        "offsite.preprocessing.slides.openslide_reader:open_with_openslide",
    ),
}
OPENERS: Registry[Callable[[str], SlideFile]] = Registry(
    "slide format", {name: kind.address for name, kind in FORMATS.items()}
)
SLIDE_SUFFIXES = tuple(dict.fromkeys(end for kind in FORMATS.values() for end in kind.suffixes))
READ = ", ".join(kind.name for kind in FORMATS.values())
"""The formats in words."""
REMEDY = f"Slides are read from {READ}; convert it, for example to a pyramidal JPEG-tiled TIFF"
