"""The slide formats: their suffixes, and what opens each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from PIL import ImageCms

from offsite.errors import InputError
from offsite.file_formats import FileFormat
from offsite.preprocessing.formats.kinds import kind_of
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
class Format(FileFormat):
    """A family of files that one reader opens as slides.

    Attributes
    ----------
    address : str
        ``"module:function"`` that takes a path and gives a `SlideFile`. It raises `NotThisFormat`
        for a file of another format, `InputError` for a damaged one.
    """

    address: str = field(kw_only=True)


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
        address="offsite.preprocessing.slides.openslide_reader:open_with_openslide",
    ),
    "tiff": Format(
        "OME-TIFF, QPTIFF, TIFF in strips or of WebP or JPEG 2000",
        (".qptiff", ".btf"),
        address="offsite.preprocessing.slides.tiff_reader:open_tiff",
    ),
}
OPENERS: Registry[Callable[[str], SlideFile]] = Registry(
    "slide format", {name: kind.address for name, kind in FORMATS.items()}
)
SLIDE_SUFFIXES = tuple(dict.fromkeys(end for kind in FORMATS.values() for end in kind.suffixes))
READ = ", ".join(kind.name for kind in FORMATS.values())
"""The formats in words."""
REMEDY = f"Slides are read from {READ}; convert it, for example to a pyramidal JPEG-tiled TIFF"


def of_no_format(file: Path) -> InputError:
    """Return what to say of a file that nothing opens as a slide; its content says what it is."""
    kind = kind_of(file)
    if kind and kind != "tiff":
        problem, code = f"a {kind} picture, not a slide", "wrong_kind"
    elif kind or file.suffix.lower() in SLIDE_SUFFIXES:
        problem = "not a slide that can be read, or cut short"
        code = "unsupported_format"
    else:
        problem, code = "the file is not an image", "not_an_image"
    remedy = f"{REMEDY}, or fetch it again if it is cut short"
    if kind == "tiff":
        remedy += ". A TIFF in strips is a slide where it or the column 'mpp' states its scale"
    return InputError(problem, file=file, remedy=remedy, code=code)
