"""Which pages of a TIFF are the levels of one slide, and how their pixels lie in the file.

A TIFF is a slide if it is tiled, has smaller copies of its picture, or states a microscope's scale; any
other is left to the reader of photographs. What a file declares is bounded before it is believed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import tifffile

from offsite.errors import InputError
from offsite.preprocessing.slides.formats import REMEDY, NotThisFormat
from offsite.preprocessing.slides.ome import Described, described
from offsite.preprocessing.slides.scale import PLAUSIBLE_UM

NOT_BRIGHTFIELD = "not_brightfield"
MOST_PAGES = 1000
MOST_SEGMENT_PX = 64_000_000
MOST_SEGMENTS = 20_000_000
_REDUCED = 1
_UM_PER_UNIT = {2: 25_400.0, 3: 1e4}
_RGB, _YCBCR = tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR


@dataclass(frozen=True)
class TiffLevel:
    """A level: a grid of tiles, or of strips as wide as the picture.

    Attributes
    ----------
    width, height : int
        Of the picture, px.
    tile_width, tile_height : int
        Of a segment, px.
    offsets, lengths : numpy.ndarray
        Where each segment lies in the file, and its bytes; 0 bytes are a hole. Of planes that are
        stored apart, the second plane's segments follow the first's.
    compression, predictor, photometric : int
        As TIFF numbers them.
    samples, planes : int
        Values of a px within a segment, and planes that are stored apart.
    tables : bytes
        JPEG tables that all segments share.
    strips : bool
        The last strip may be lower than the others.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: np.ndarray
    lengths: np.ndarray
    compression: int
    predictor: int
    photometric: int
    samples: int
    planes: int
    tables: bytes
    strips: bool

    @property
    def across(self) -> int:
        """Segments in a row."""
        return -(-self.width // self.tile_width)

    @property
    def count(self) -> int:
        """Segments of a plane."""
        return self.across * -(-self.height // self.tile_height)

    def rows_of(self, index: int) -> int:
        """Rows of px that segment ``index`` of a plane holds."""
        top = index // self.across * self.tile_height
        return min(self.tile_height, self.height - top) if self.strips else self.tile_height


@dataclass(frozen=True)
class TiffSlide:
    """The levels of a slide, the largest first, and what its first page says."""

    levels: tuple[TiffLevel, ...]
    properties: dict[str, str] = field(default_factory=dict)
    profile: bytes = b""


def read_structure(path: str, *, scaled: bool = False) -> TiffSlide:
    """Look at the pages of a file; no pixel is decoded.

    Parameters
    ----------
    scaled : bool
        Its scale is known from elsewhere.

    Raises
    ------
    NotThisFormat
        It is no TIFF, or none of a slide.
    InputError
        Code ``not_brightfield`` for a slide of grey channels; ``cannot_open`` where the file
        declares what cannot be true, or is damaged.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            return _structure(tiff, path, scaled)
    except (InputError, NotThisFormat, OSError):
        raise
    except Exception as error:  # what a torn head makes of a parser is not to be listed
        raise NotThisFormat(f"not a TIFF that can be read ({error})") from error


def _structure(tiff: tifffile.TiffFile, path: str, scaled: bool) -> TiffSlide:
    pages = list(_pages(tiff, path))
    base = max(pages, key=lambda page: page.imagewidth * page.imagelength, default=None)
    if base is None:
        raise NotThisFormat("there is no picture in it")
    shape = (base.imagewidth, base.imagelength)
    said = described(base.description, shape)
    smaller = [page for page in (*pages, *_sub_pages(base)) if _is_copy(page, base)]
    if not (scaled or base.is_tiled or smaller or _states_scale(base, said)):
        raise NotThisFormat("a picture in strips that states no scale, and no smaller copies of it")
    alike_pages = sum((page.imagewidth, page.imagelength) == shape for page in pages)
    _check_colour(base, max(said.channels if said else 0, alike_pages), path)
    alike = [page for page in smaller if _is_in_colour(page)]
    levels = [_level(page, path) for page in (base, *alike)]
    _check_whole(levels[0], tiff.filehandle.size)
    known = {(level.width, level.height): level for level in reversed(levels)}
    ordered = sorted(known.values(), key=lambda level: -level.width)
    profile = base.tags.valueof(34675, b"")
    return TiffSlide(
        tuple(ordered),
        _properties(base, said, ordered, len(profile)),
        profile if isinstance(profile, bytes) else b"",
    )


def _pages(tiff: tifffile.TiffFile, path: str) -> Iterator[tifffile.TiffPage]:
    seen: set[int] = set()
    for number in range(MOST_PAGES + 1):
        try:
            page = tiff.pages[number]
        except IndexError:
            return
        if page.offset in seen:  # the pages lead back to one that was there
            return
        seen.add(page.offset)
        if number == MOST_PAGES:
            raise _cannot_open(path, f"the file has more than {MOST_PAGES} pages")
        if isinstance(page, tifffile.TiffPage):
            yield page


def _sub_pages(base: tifffile.TiffPage) -> list[tifffile.TiffPage]:
    """Smaller copies that the first page points to, as OME-TIFF keeps them."""
    if not base.subifds or len(base.subifds) > MOST_PAGES or base.pages is None:
        return []
    return [page for page in base.pages if isinstance(page, tifffile.TiffPage)]


def _is_copy(page: tifffile.TiffPage, base: tifffile.TiffPage) -> bool:
    """Whether a page is a smaller copy of the whole picture, by what it says and by its shape."""
    if page is base or not 0 < page.imagewidth < base.imagewidth or page.imagelength < 1:
        return False
    across, down = base.imagewidth / page.imagewidth, base.imagelength / page.imagelength
    least = min(page.imagewidth, page.imagelength)
    if abs(across - down) > max(0.02, 1.5 / least) * across:
        return False
    said = described(page.description)
    if said is not None and said.image_type:
        return said.image_type == "ReducedResolution"
    is_sub = base.subifds is not None and page.offset in base.subifds
    return bool(is_sub or page.subfiletype == _REDUCED or (page.is_tiled and base.is_tiled))


def _states_scale(page: tifffile.TiffPage, said: Described | None) -> bool:
    low, high = PLAUSIBLE_UM
    stated = [said.mpp[0]] if said is not None and said.mpp else []
    per_unit, unit = _resolution(page, "XResolution"), page.tags.valueof(296, 2)
    if per_unit and int(unit) in _UM_PER_UNIT:
        stated.append(_UM_PER_UNIT[int(unit)] / per_unit)
    return any(low <= mpp <= high for mpp in stated)


def _resolution(page: tifffile.TiffPage, name: str) -> float | None:
    value = page.tags.valueof(name)
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return None
    return float(value[0]) / float(value[1])


def _is_in_colour(page: tifffile.TiffPage) -> bool:
    return bool(
        page.photometric in (_RGB, _YCBCR)
        and page.samplesperpixel in (3, 4)
        and page.bitspersample == 8
    )


def _check_colour(page: tifffile.TiffPage, channels: int, path: str) -> None:
    """Refuse what is no picture in colour: one of fluorescence, or of a grey camera."""
    if _is_in_colour(page):
        return
    if page.photometric in (_RGB, _YCBCR) and page.samplesperpixel in (3, 4):
        raise _cannot_open(path, f"a slide of {page.bitspersample} bits a colour, not 8")
    raise _grey_slide(path, max(page.samplesperpixel, channels))


def _grey_slide(path: str, channels: int) -> InputError:
    """Return the refusal of a slide that shows no colours."""
    what = "one grey channel" if channels == 1 else f"{channels} grey channels"
    return InputError(
        f"a slide of {what}, as fluorescence or a grey camera gives, not of stained tissue in colour",
        file=path,
        remedy="Give slides in brightfield; channels that are red, green and blue must be written as"
        " one picture in colour",
        code=NOT_BRIGHTFIELD,
    )


def _level(page: tifffile.TiffPage, path: str) -> TiffLevel:
    """How a page's pixels lie, once what it declares is plausible."""
    planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    width, height = page.imagewidth, page.imagelength
    if page.is_tiled:
        across, down = page.tilewidth, page.tilelength
    else:
        across, down = width, min(page.rowsperstrip or height, height)
    if min(across, down) < 1 or across * down > MOST_SEGMENT_PX:
        raise _cannot_open(
            path, f"a tile or strip of {across} x {down} px, too large to be read in part"
        )
    level = TiffLevel(
        width=width,
        height=height,
        tile_width=across,
        tile_height=down,
        offsets=np.asarray(page.dataoffsets, np.int64),
        lengths=np.asarray(page.databytecounts, np.int64),
        compression=int(page.compression),
        predictor=int(page.predictor),
        photometric=int(page.photometric),
        samples=1 if planar else page.samplesperpixel,
        planes=page.samplesperpixel if planar else 1,
        tables=page.jpegtables[2:-2] if page.jpegtables else b"",
        strips=not page.is_tiled,
    )
    stated = level.count * level.planes
    if stated > MOST_SEGMENTS or not len(level.offsets) == len(level.lengths) == stated:
        raise _cannot_open(path, f"{len(level.offsets)} tiles or strips where {stated} belong")
    return level


def _check_whole(level: TiffLevel, size: int) -> None:
    """Of a file that is cut short nothing is made; of one that lacks a little, the rest is read."""
    beyond = (level.lengths > 0) & (level.offsets + level.lengths > size)
    if beyond.sum() > 0.5 * max((level.lengths > 0).sum(), 1):
        raise NotThisFormat("the file ends before most of its tiles or strips")


def _properties(
    page: tifffile.TiffPage, said: Described | None, levels: list[TiffLevel], profile: int
) -> dict[str, str]:
    """What the file says of itself, under OpenSlide's names."""
    found = {"openslide.vendor": f"{said.kind}-tiff" if said and said.kind == "ome" else "tiff"}
    if said is not None and said.kind == "qptiff":
        found["openslide.vendor"] = "qptiff"
    for number, level in enumerate(levels):
        name = f"openslide.level[{number}]"
        found[f"{name}.width"], found[f"{name}.height"] = str(level.width), str(level.height)
        found[f"{name}.tile-width"] = str(level.tile_width)
        found[f"{name}.tile-height"] = str(level.tile_height)
    for name in ("ImageDescription", "DateTime", "Make", "Model", "Software"):
        value = page.tags.valueof(name)
        if isinstance(value, str) and value:
            found[f"tiff.{name}"] = value
    for name in ("XResolution", "YResolution"):
        if per_unit := _resolution(page, name):
            found[f"tiff.{name}"] = repr(per_unit)
    unit = {2: "inch", 3: "centimeter"}.get(int(page.tags.valueof(296, 2)), "")
    found["tiff.ResolutionUnit"] = unit
    if said is not None and said.magnification:
        found["openslide.objective-power"] = said.magnification
    if profile:
        found["openslide.icc-size"] = str(profile)
    return found


def _cannot_open(path: str, problem: str) -> InputError:
    return InputError(problem, file=path, remedy=REMEDY, code="cannot_open")
