"""Open a slide, or say in a sentence why not."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import openslide

from offsite.errors import InputError, fault_of_system
from offsite.files import is_file
from offsite.preprocessing.formats.photographs import PHOTOGRAPH_SUFFIXES
from offsite.preprocessing.slides.colour import AS_SCANNED, COLOURS, SRGB, srgb_transform
from offsite.preprocessing.slides.direct_reader import DirectReader, NotEligible
from offsite.preprocessing.slides.formats import (
    OPENERS,
    SLIDE_SUFFIXES,
    NotThisFormat,
    SlideFile,
    of_no_format,
)
from offsite.preprocessing.slides.openslide_reader import OpenSlideReader
from offsite.preprocessing.slides.region import Region, RegionReader
from offsite.preprocessing.slides.scale import Scale, resolve_scale
from offsite.preprocessing.slides.tiff_pages import NOT_BRIGHTFIELD
from offsite.preprocessing.slides.tiff_reader import open_tiff

READERS = ("auto", "openslide", "direct", "tiff")
MAX_SIDE_PX = 10_000_000
_VENDOR = openslide.PROPERTY_NAME_VENDOR
OF_NO_FORMAT = ("unsupported_format", "wrong_kind", "not_an_image")
"""Codes of a file that is no slide."""


class Slide:
    """An open slide; a context manager.

    Attributes
    ----------
    path : str
    dimensions : (int, int)
        Width and height of level 0, px.
    level_dimensions, level_downsamples
        Per level; factors to level 0.
    native_tiles : tuple of (int, int)
        Width and height of each level's own tiles, px; 256 where the file does not say.
    mpp : float
        um per px of level 0.
    mpp_source : str
        Where that comes from (``offsite.preprocessing.slides.scale.Scale``).
    vendor : str
    reader : str
        Which reader decodes the pixels.
    reader_reason : str
        Why this reader.
    properties : mapping of str to str
        What OpenSlide tells about the file.
    bounds_offset : (int, int)
        Where the scanned area begins within level 0 (MRXS); QuPath counts from there.
    """

    def __init__(
        self,
        record: SlideFile,
        reader: RegionReader,
        reason: str,
        path: str,
        scale: Scale,
        colour: str = AS_SCANNED,
    ) -> None:
        self.path = path
        self.dimensions = record.level_dimensions[0]
        self.level_dimensions = record.level_dimensions
        self.level_downsamples = record.downsamples
        self.properties: Mapping[str, str] = record.properties
        self.native_tiles = tuple(
            (self._stated_px(level, "width"), self._stated_px(level, "height"))
            for level in range(len(record.level_dimensions))
        )
        self.mpp = scale.mpp
        self.mpp_source = scale.source
        self.vendor = self.properties.get(_VENDOR, "")
        self.reader = reader.name
        self.reader_reason = reason
        self.bounds_offset = (
            int(self.properties.get(openslide.PROPERTY_NAME_BOUNDS_X, 0)),
            int(self.properties.get(openslide.PROPERTY_NAME_BOUNDS_Y, 0)),
        )
        self._record = record
        self._reader = reader
        self._to_srgb = srgb_transform(record.colour_profile) if colour == SRGB else None

    def read_region(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        """Read a rectangle; corner and size in px *of the level*, outside is no data.

        Raises
        ------
        UnreadableRegion
            The file is damaged there; the slide can still be used.
        """
        return self._in_colour(self._reader.read(x, y, level, width, height))

    def reduces(self, level: int, reduction: int) -> bool:
        """Whether a level can be decoded at 1/``reduction`` of its size (2, 4 or 8)."""
        ask = getattr(self._reader, "reduces", None)
        return bool(ask and ask(level, reduction))

    def read_reduced(
        self, x: int, y: int, level: int, width: int, height: int, reduction: int
    ) -> Region:
        """Read as `read_region`, all in multiples of ``reduction``, at 1/``reduction`` of the size."""
        place = (x // reduction, y // reduction, level, width // reduction, height // reduction)
        return self._in_colour(self._reader.read_reduced(*place, reduction))  # type: ignore[attr-defined]

    def _in_colour(self, region: Region) -> Region:
        if self._to_srgb is None:
            return region
        return Region(self._to_srgb(region.pixels), region.valid)

    def _stated_px(self, level: int, side: str) -> int:
        stated = self.properties.get(f"openslide.level[{level}].tile-{side}", "")
        return int(stated) if stated.isdigit() and int(stated) else 256

    def icc_profile_bytes(self) -> int:
        """Size of the embedded colour profile; 0 if there is none."""
        return int(self.properties.get("openslide.icc-size", 0))

    def close(self) -> None:
        """Release the file."""
        self._reader.close()
        self._record.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_slide(
    path: str | Path,
    *,
    mpp: float | None = None,
    reader: str = "auto",
    colour: str = AS_SCANNED,
) -> Slide:
    """Open a slide.

    Parameters
    ----------
    path : path
        The file (for DICOM one file of the series, for MRXS the ``.mrxs``).
    mpp : float, optional
        um per px of level 0, instead of what the file says.
    reader : str
        ``openslide``, ``direct`` (decodes the native JPEG tiles itself), ``tiff`` (TIFF that
        OpenSlide refuses) or ``auto``: direct where its pixels are proved equal to OpenSlide's.
    colour : str
        ``as_scanned``, or ``srgb`` to apply the embedded colour profile where there is one.

    Raises
    ------
    InputError
        Code ``no_such_file``, one of `OF_NO_FORMAT`, ``cannot_open``, ``not_brightfield``,
        ``mpp_missing``, ``mpp_implausible``, ``mpp_anisotropic``, ``mpp_contradicted`` or
        ``reader_unsuitable``.
    """
    file = str(path)
    if colour not in COLOURS:
        raise InputError(
            f"no colour '{colour}'", remedy=f"Use {', '.join(COLOURS)}", code="unknown_colour"
        )
    record = _open_record(file, scaled=mpp is not None)
    try:
        _check_dimensions(record, file)
        scale = resolve_scale(record.properties, override=mpp, file=file)
        return Slide(record, *_choose_reader(record, file, reader), file, scale, colour)
    except BaseException:
        record.close()
        raise


def are_slides(paths: Sequence[Path], scales: Sequence[float | None] = ()) -> bool:
    """Whether files are slides: most of those whose names or content tell.

    TIFF and DICOM hold photographs too: where their number decides, one of them must be a slide by
    its content. ``scales`` are the um per px that somebody gives of each: a picture in strips is a
    slide then.
    """
    of_slides, of_photographs = set(SLIDE_SUFFIXES), set(PHOTOGRAPH_SUFFIXES)
    ends = [path.suffix.lower() for path in paths]
    unclear = [
        (path, scale is not None)
        for path, end, scale in zip(paths, ends, scales or [None] * len(paths), strict=True)
        if end in of_slides and end in of_photographs
    ]
    slides = sum(end in of_slides - of_photographs for end in ends)
    others = len(paths) - slides - len(unclear)
    if abs(slides - others) > len(unclear):
        return slides > others
    there = [one for one in unclear if is_file(one[0])]
    found = any(_is_slide(str(path), scaled) for path, scaled in there) if there else bool(unclear)
    slides, others = (slides + len(unclear), others) if found else (slides, others + len(unclear))
    return slides > others


def _is_slide(file: str, scaled: bool) -> bool:
    try:
        _open_record(file, scaled=scaled).close()
    except InputError as error:
        return error.code not in OF_NO_FORMAT  # a damaged slide is one
    return True


def _open_record(file: str, *, scaled: bool = False) -> SlideFile:
    try:
        with Path(file).open("rb") if is_file(file) else nullcontext():  # may it be read?
            pass
        there = Path(file).is_file()
    except OSError as error:
        if fault := fault_of_system(error):
            raise InputError(
                fault.problem, file=file, remedy=fault.remedy, code=fault.code
            ) from error
        raise
    if not there:
        raise InputError(
            "no such slide", file=file, remedy="Name an existing file", code="no_such_file"
        )
    refusals: list[InputError] = []
    for opener in OPENERS.values():
        try:
            record = opener(file)
        except NotThisFormat:
            continue
        except InputError as error:  # another reader may know a compression that this one does not
            refusals.append(error)
        else:
            return _fuller(record, file)
    if scaled and not refusals:
        with suppress(NotThisFormat):
            return open_tiff(file, scaled=True)
    if not refusals:
        raise of_no_format(Path(file))
    raise next((error for error in refusals if error.code == NOT_BRIGHTFIELD), refusals[0])


def _fuller(record: SlideFile, file: str) -> SlideFile:
    """The reader that sees more levels: OpenSlide sees none that hang under a page, as OME-TIFF's do.

    It also shows grey channels as if they were colours, which are refused here.
    """
    if record.properties.get(_VENDOR) != "generic-tiff" or not isinstance(record, OpenSlideReader):
        return record
    try:
        other = open_tiff(file)
    except NotThisFormat:
        return record
    except InputError as error:
        if error.code == NOT_BRIGHTFIELD:
            record.close()
            raise
        return record
    fuller = len(other.level_dimensions) > len(record.level_dimensions)
    (record if fuller else other).close()
    return other if fuller else record


def _check_dimensions(record: SlideFile, file: str) -> None:
    for width, height in record.level_dimensions:
        if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
            raise InputError(
                f"a level of {width} x {height} px is not plausible",
                file=file,
                remedy="Fetch the file again; its header is damaged",
                code="cannot_open",
            )


def _choose_reader(record: SlideFile, file: str, wanted: str) -> tuple[RegionReader, str]:
    if wanted not in (*READERS, record.name):
        raise InputError(
            f"no reader '{wanted}'", remedy=f"Use {', '.join(READERS)}", code="unknown_reader"
        )
    if wanted == record.name:
        return record, "asked for"
    try:
        if not isinstance(record, OpenSlideReader):
            raise NotEligible("it is of a format that one reader reads")
        if wanted not in ("auto", DirectReader.name):
            raise NotEligible("OpenSlide reads it")
        return DirectReader(file, record), "tiled JPEG; probe tiles equal OpenSlide's"
    except NotEligible as error:
        if wanted != "auto":
            raise InputError(
                f"the slide cannot be read by reader '{wanted}': {error}",
                file=file,
                remedy=f"Use the reader 'auto' or '{record.name}'",
                code="reader_unsuitable",
            ) from error
        return record, str(error)
