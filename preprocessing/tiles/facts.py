"""What the record of a slide's tiles says of the slide, and what became of it."""

from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.preprocessing.slides.compression import read_compression
from offsite.preprocessing.slides.density import channel_max, channel_min
from offsite.preprocessing.slides.geometry import TileGeometry
from offsite.preprocessing.slides.opening import Slide
from offsite.preprocessing.slides.scanned_on import scanned_on
from offsite.preprocessing.slides.tiff_pages import NOT_BRIGHTFIELD
from offsite.preprocessing.tiles.selection import SlideMasks
from offsite.preprocessing.tiles.table import KEPT, SlideRecord, TileSettings

_DARK, _BRIGHT = 40, 140  # grey values
_STAINED, _GREY = 40, 3  # differences between them: to the glass, and between colours


def damage_of(
    table: pd.DataFrame, masks: SlideMasks, geometry: TileGeometry, mpp: float
) -> dict[str, Any]:
    """Return what the record says of damage: what other levels gave, and what none gives.

    ``lost_share`` is of the area of all tiles with tissue (0..1), ``lost_mm2`` in mm².
    """
    stood_in = set(table["level"].unique().tolist()) - {geometry.level}
    square = (min(geometry.size, geometry.stride) * mpp / 1e3) ** 2
    return {
        "decoded_from": tuple(sorted(stood_in | set(masks.overview.decoded_from))),
        "lost_share": float(table["lost"].mean()) if len(table) else 0.0,
        "lost_mm2": float(table["lost"].to_numpy(float).sum()) * square,
    }


def outcome(
    counts: dict[str, int],
    candidates: int,
    lost: float,
    geometry: TileGeometry,
    settings: TileSettings,
) -> dict[str, str]:
    """Return status, code and message of the slide; ``lost`` is the share that cannot be decoded."""
    if lost > settings.max_unreadable:
        return {
            "status": "failed",
            "code": "too_many_unreadable_tiles",
            "message": f"{lost:.0%} of the tissue cannot be decoded ({counts['unreadable']} of"
            f" {candidates} tiles). Fetch the file again from the archive or the scanner",
        }
    if not geometry.columns or not geometry.rows:
        return {
            "status": "no_tissue",
            "code": "smaller_than_a_tile",
            "message": "The slide is smaller than one tile",
        }
    if not candidates:
        return {
            "status": "no_tissue",
            "code": "no_tissue",
            "message": "No tile holds enough tissue; look at the thumbnail",
        }
    if not counts[KEPT]:
        return {
            "status": "no_tissue",
            "code": "no_fit_tile",
            "message": f"None of {candidates} tiles with tissue is fit; the counts say why",
        }
    return {"status": "done", "code": "", "message": ""}


def check_resolution(slide: Slide, settings: TileSettings) -> None:
    """Refuse a slide that is too coarse for the tiles.

    Raises
    ------
    InputError
        Code ``resolution_too_low``.
    """
    if slide.mpp > settings.mpp * settings.max_upsampling:
        raise InputError(
            f"the slide has {slide.mpp:.4g} um per px, too coarse for tiles of {settings.mpp:g}",
            remedy="Tile at a coarser scale, or leave the slide out",
            code="resolution_too_low",
            file=slide.path,
        )


def check_brightfield(slide: Slide, masks: SlideMasks) -> None:
    """Refuse a slide that is dark where brightfield has glass, or that shows no colours.

    Dark is one of which more than half lets no light through and hardly anything is bright, such as
    fluorescence in false colours; a scan with black margins still shows glass. Without colours is
    one where all that lies on the glass is the same in red, green and blue (our constructions).

    Raises
    ------
    InputError
        Code ``not_brightfield``.
    """
    pixels, valid = masks.overview.pixels, masks.overview.valid
    seen = np.count_nonzero(valid)
    if not seen:
        return
    brightest, darkest = channel_max(pixels), channel_min(pixels)
    dark = np.count_nonzero((brightest < _DARK) & valid) / seen
    bright = np.count_nonzero((darkest > _BRIGHT) & valid) / seen
    if dark > 0.5 and bright < 0.01:
        raise InputError(
            f"{dark:.0%} of the slide is dark and nothing of it shows glass, as in fluorescence",
            file=slide.path,
            remedy="Give slides in brightfield, or leave this one out",
            code=NOT_BRIGHTFIELD,
        )
    # What lies on the glass, not the tissue found: grey matter is never called tissue.
    stained = (darkest < masks.white.min() - _STAINED) & valid
    grey = np.count_nonzero(stained & (brightest - darkest <= _GREY))
    if np.count_nonzero(stained) > 0.01 * seen and grey > 0.99 * np.count_nonzero(stained):
        raise InputError(
            "what lies on the glass shows no colours, as a grey camera gives",
            file=slide.path,
            remedy="Give slides in colour, or leave this one out",
            code=NOT_BRIGHTFIELD,
        )


def facts_of(slide: Slide, geometry: TileGeometry) -> dict[str, object]:
    """Return what the record says of the slide and of its grid of tiles."""
    keys = (
        "aperio.ScanScope ID",
        "hamamatsu.Product",
        "leica.device-model",
        "dicom.ManufacturerModelName",
    )
    compression = read_compression(slide.path, slide.dimensions)
    return {
        "levels": len(slide.level_dimensions),
        "compression": compression.name,
        "jpeg_quality": compression.quality,
        "subsampling": compression.subsampling,
        "native_tile": compression.native_tile,
        "width": slide.dimensions[0],
        "height": slide.dimensions[1],
        "vendor": slide.vendor,
        "scanner": next((slide.properties[key] for key in keys if key in slide.properties), ""),
        "acquired": scanned_on(slide.properties),
        "mpp": slide.mpp,
        "mpp_source": slide.mpp_source,
        "magnification": slide.properties.get("openslide.objective-power", ""),
        "reader": slide.reader,
        "reader_reason": slide.reader_reason,
        "icc_profile": slide.icc_profile_bytes() > 0,
        "bounds_offset": slide.bounds_offset,
        "requested_mpp": geometry.requested_mpp,
        "actual_mpp": geometry.actual_mpp,
        "tile_px": geometry.tile_px,
        "size": geometry.size,
        "stride": geometry.stride,
        "level": geometry.level,
        "read_px": geometry.read_px,
        "downsample": geometry.downsample,
    }


def summary_row(record: SlideRecord) -> dict[str, Any]:
    """The slide's row of ``tiles.csv``."""
    nested = {"counts", "rates", "bounds_offset", "white", "macenko", "reinhard", "native_tile"}
    row = record.model_dump(exclude={*nested, "table_digest", "version"})
    row["decoded_from"] = " ".join(map(str, record.decoded_from))
    if record.macenko is not None:
        row["stain_identity"] = record.macenko.identity
    row |= {"tiles_kept": record.kept, "tiles_total": sum(record.counts.values())}
    row |= {f"tiles_{name}": count for name, count in record.counts.items() if name != KEPT}
    return row | {f"rate_{name}": rate for name, rate in record.rates.items()}
