"""The tiles of a slide as coordinates: settings, record, and the files that hold them."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from offsite.errors import InputError
from offsite.files import (
    digest_of,
    file_digest,
    in_the_way,
    is_plain_file,
    read_json,
    replacing,
    write_json,
)
from offsite.ownership import refuse_link
from offsite.preprocessing.stain import MacenkoFit, ReinhardFit
from offsite.preprocessing.tiles.quality import QualitySettings
from offsite.preprocessing.tiles.tissue import TissueSettings
from offsite.settings import Settings

VERSION = 3
"""Goes up when the same settings and slide would give other tiles."""

FOLDER = "tiles"
DAMAGED = "damaged_tiles"
KEPT = "kept"
STATUSES = (KEPT, "unreadable", "no_data", "pen", "fold", "dark", "pale", "blurred")
"""Why a tile with tissue is used or not; the first reason that holds. ``background`` is counted
too, but such tiles have no row."""


class TileSettings(Settings):
    """Which tiles of a slide are taken."""

    tile_px: int = Field(default=224, ge=16, le=4096, description="Side of a tile, px.")
    mpp: float = Field(default=0.5, gt=0.05, lt=20, description="Scale of a tile, um per px.")
    stride_px: int | None = Field(
        default=None, ge=8, description="Step between tiles, px; the side if not given."
    )
    min_tissue: float = Field(
        default=0.5, ge=0, le=1, description="Least share of a tile that is tissue."
    )
    max_upsampling: float = Field(
        default=1.1, ge=1, description="A slide coarser than the tiles by more is refused."
    )
    max_unreadable: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="A slide fails if a larger share of its tissue cannot be decoded.",
    )
    reader: str = Field(default="auto", description="auto, openslide, direct or tiff.")
    colour: str = Field(
        default="as_scanned",
        description="as_scanned, or srgb: apply the embedded colour profile where there is one.",
    )
    decoding: Literal["judging", "scaled", "full"] = Field(
        default="judging",
        description="Where JPEG of a level twice, four or eight times too fine is decoded at that part of"
        " its size: to judge tiles (judging), for features too (scaled), nowhere (full).",
    )
    pictures: bool = Field(
        default=True, description="Write thumbnail and mask as PNG beside the tiles."
    )
    tissue: TissueSettings = Field(
        default=TissueSettings(), description="How tissue is told from glass."
    )
    quality: QualitySettings = Field(
        default=QualitySettings(), description="What makes a tile unfit."
    )


class SlideRecord(Settings):
    """What became of a slide; the JSON beside its tiles.

    ``status`` is ``done``, ``no_tissue`` or ``failed``; ``code`` and ``message`` say why.
    """

    slide: str
    image: str
    status: str
    code: str = ""
    message: str = ""
    fingerprint: str = ""
    settings_digest: str = ""
    mpp_override: float | None = None
    width: int | None = None
    height: int | None = None
    vendor: str = ""
    scanner: str = ""
    acquired: str = ""
    mpp: float | None = None
    mpp_source: str = ""
    magnification: str = ""
    reader: str = ""
    reader_reason: str = ""
    icc_profile: bool = False
    colour: str = "as_scanned"
    levels: int | None = None
    compression: str = ""
    jpeg_quality: int | None = None
    subsampling: str = ""
    native_tile: tuple[int, int] | None = None
    bounds_offset: tuple[int, int] = (0, 0)
    requested_mpp: float | None = None
    actual_mpp: float | None = None
    tile_px: int | None = None
    size: int | None = None
    stride: int | None = None
    level: int | None = None
    read_px: int | None = None
    reduction: int = 1
    downsample: float | None = None
    decoded_from: tuple[int, ...] = ()
    lost_share: float | None = None
    lost_mm2: float | None = None
    tissue_mm2: float | None = None
    fat_mm2: float | None = None
    white: tuple[float, float, float] | None = None
    macenko: MacenkoFit | None = None
    reinhard: ReinhardFit | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    rates: dict[str, float | None] = Field(default_factory=dict)
    tiles_digest: str = ""
    table_digest: str = ""
    version: int = VERSION

    @property
    def kept(self) -> int:
        """Number of tiles to be used."""
        return self.counts.get(KEPT, 0)


@dataclass(frozen=True)
class SlideTiles:
    """The tiles of a slide.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per tile that holds tissue, row by row over the slide: ``x``, ``y`` (int64, level-0
        px, top left), ``tissue, coverage, fat, pen, fold, dark, pale`` (0..1), ``focus``, ``lost``
        (share that no level gives, 0..1), ``level`` (that gave it), ``status`` (one of
        ``STATUSES``).
    record : SlideRecord
    """

    table: pd.DataFrame
    record: SlideRecord

    def kept(self) -> pd.DataFrame:
        """The tiles to be used, numbered from 0."""
        return self.table[self.table["status"] == KEPT].reset_index(drop=True)

    def kept_places(self) -> np.ndarray:
        """``x, y`` of the tiles to be used (N x 2, int64), in the order of `kept`."""
        places = [self.table[axis].to_numpy(np.int64) for axis in ("x", "y")]
        return np.stack(places, axis=1)[self.table["status"].to_numpy() == KEPT]


def tiles_digest(table: pd.DataFrame, record: SlideRecord) -> str:
    """SHA-256 (hex) of what tile features depend on: the kept tiles and their geometry."""
    coordinates = SlideTiles(table, record).kept_places()
    geometry = [record.tile_px, record.size, record.level, record.read_px, record.colour]
    geometry.append(record.fingerprint)
    if record.reduction > 1:
        geometry.append(record.reduction)
    return hashlib.sha256(digest_of(geometry).encode() + coordinates.tobytes()).hexdigest()


def table_path(out: str | Path, slide: str) -> Path:
    """Where the tiles of a slide are."""
    return Path(out) / FOLDER / f"{slide}.parquet"


def record_path(out: str | Path, slide: str) -> Path:
    """Where the record of a slide is."""
    return Path(out) / FOLDER / f"{slide}.json"


def save_tiles(out: str | Path, tiles: SlideTiles) -> SlideRecord:
    """Write record and table; the record's digest says whether the table is whole.

    The record comes first: a table that no record names is not ours, and would not be replaced.
    """
    refuse_foreign_tiles(out, tiles.record.slide)
    table = table_path(out, tiles.record.slide)
    with replacing(table) as temporary:
        tiles.table.to_parquet(temporary, index=False)
        record = tiles.record.model_copy(update={"table_digest": file_digest(temporary)})
        write_json(record_path(out, record.slide), record.model_dump(mode="json"))
    return record


def refuse_foreign_tiles(out: str | Path, slide: str) -> None:
    """Refuse to replace a table or record of a slide that offsite did not write.

    Raises
    ------
    InputError
        Code ``not_ours``, or ``linked_folder``.
    """
    table, file = table_path(out, slide), record_path(out, slide)
    refuse_link(table.parent)
    for path in (table, file):
        if path.is_symlink() or (path.exists() and not is_plain_file(path)):
            raise in_the_way(path)
    try:
        record = read_json(file) if file.exists() else None
    except ValueError as error:
        raise in_the_way(file) from error
    if file.exists() and not (isinstance(record, dict) and record.get("slide") == slide):
        raise in_the_way(file)
    if table.exists() and (record is None or _is_of_other_columns(table)):
        raise in_the_way(table)


def _is_of_other_columns(file: Path) -> bool:
    """Whether a file is a table, but none of tiles; a damaged one of ours is made again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return not {"x", "y", "status"} <= set(pq.read_schema(file).names)
    except (OSError, ValueError, pa.ArrowException):
        return False


def load_record(out: str | Path, slide: str) -> SlideRecord | None:
    """The record of a slide, or None if there is none or it is of another version."""
    path = record_path(out, slide)
    if not path.is_file():
        return None
    try:
        record = SlideRecord.model_validate(read_json(path))
    except (ValueError, ValidationError):
        return None
    return record if record.version == VERSION else None


def load_tiles(out: str | Path, slide: str) -> SlideTiles:
    """Read the tiles of a slide.

    Raises
    ------
    InputError
        ``not_tiled`` where there is no record, ``slide_failed`` where the slide failed,
        ``damaged_tiles`` where the table is not the one that was written.
    """
    record = load_record(out, slide)
    if record is None:
        raise InputError(
            f"slide '{slide}' has not been tiled",
            file=record_path(out, slide),
            remedy="Run `offsite workflow tile` first",
            code="not_tiled",
        )
    if record.status == "failed":
        raise InputError(
            f"slide '{slide}' failed: {record.message}",
            file=record.image,
            remedy="Mend or remove the slide",
            code="slide_failed",
        )
    tiles = read_tiles_of(out, record)
    if tiles is None:
        raise InputError(
            f"{slide}.parquet is missing or damaged",
            file=table_path(out, slide),
            remedy="Run `offsite workflow tile` again: it makes the file anew",
            code=DAMAGED,
        )
    return tiles


def read_tiles_of(out: str | Path, record: SlideRecord) -> SlideTiles | None:
    """Read the table that a record speaks of; None where it is absent or not the one written."""
    try:
        data = table_path(out, record.slide).read_bytes()
        if record.table_digest not in ("", hashlib.sha256(data).hexdigest()):
            return None
        return SlideTiles(pd.read_parquet(io.BytesIO(data)), record)
    except (OSError, ValueError):
        return None
