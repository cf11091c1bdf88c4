"""From slides to tiles: one slide, or a whole cohort with a row for every slide."""

import logging
from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place, threads_at
from offsite.errors import InputError
from offsite.files import remove_leftovers, state_of
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.formats.companions import companions
from offsite.preprocessing.slides.fingerprints import changed_while_read, slide_fingerprint
from offsite.preprocessing.slides.geometry import TileGeometry, lay_tiles
from offsite.preprocessing.slides.opening import Slide, open_slide
from offsite.preprocessing.stain import fit_macenko, fit_reinhard
from offsite.preprocessing.tiles.facts import (
    check_brightfield,
    check_resolution,
    damage_of,
    facts_of,
    outcome,
    summary_row,
)
from offsite.preprocessing.tiles.pictures import picture_paths, save_pictures
from offsite.preprocessing.tiles.reading import pool_pixels
from offsite.preprocessing.tiles.selection import (
    SlideMasks,
    find_masks,
    reduction_for,
    select_tiles,
)
from offsite.preprocessing.tiles.table import (
    STATUSES,
    SlideRecord,
    SlideTiles,
    TileSettings,
    load_record,
    read_tiles_of,
    record_path,
    refuse_foreign_tiles,
    save_tiles,
    table_path,
    tiles_digest,
)
from offsite.written import check_own, replacing_own

TABLE = "tiles.csv"
_LOG = logging.getLogger(__name__)
Progress = Callable[[SlideRecord], None]


def tile_slide(
    image: str | Path, slide: str, out: str | Path, settings: TileSettings, mpp: float | None = None
) -> SlideRecord:
    """Tile one slide into ``out/tiles``; what is there and still true is kept.

    Never raises for a bad slide: the record says what is wrong with it.

    Parameters
    ----------
    slide : str
        Identifier; names the files.
    mpp : float, optional
        um per px, instead of what the file says.
    """
    files = [Path(image), *companions(Path(image))]
    state = state_of(files)
    mark = slide_fingerprint(image)
    digest = settings.digest()
    old = load_record(out, slide)
    if (
        old is not None
        and old.status != "failed"  # what failed may have been mended
        and mark
        and (old.fingerprint, old.settings_digest, old.mpp_override) == (mark, digest, mpp)
        and read_tiles_of(out, old) is not None
    ):
        return old
    remove_leftovers(table_path(out, slide), record_path(out, slide), *picture_paths(out, slide))
    base = SlideRecord(
        slide=slide,
        image=Path(image).name,
        status="failed",
        fingerprint=mark,
        settings_digest=digest,
        mpp_override=mpp,
        colour=settings.colour,
    )
    try:
        refuse_foreign_tiles(out, slide)
    except InputError as error:
        return base.model_copy(
            update={"code": error.code, "message": f"{error.problem}. {error.remedy}"}
        )
    try:
        for picture in picture_paths(out, slide) if settings.pictures else ():
            check_own(picture)
        with open_slide(image, mpp=mpp, reader=settings.reader, colour=settings.colour) as opened:
            tiles, masks = tiles_of(opened, base, settings)
        if state_of(files) != state:
            raise changed_while_read(image)
    except InputError as error:
        why = {"code": error.code, "message": f"{error.problem}. {error.remedy}"}
    except Exception as error:  # a fault of ours must not end a night's batch
        _LOG.exception("slide %s", slide)
        why = {"code": "internal_error", "message": f"{type(error).__name__}: {error}"}
    else:
        if settings.pictures:
            save_pictures(out, slide, masks)
        return save_tiles(out, tiles)
    record = base.model_copy(update={"status": "failed", **why})
    return save_tiles(out, SlideTiles(_empty_table(), record))


def _tile_at(
    place: Place,
    image: Path,
    slide: str,
    out: str | Path,
    settings: TileSettings,
    mpp: float | None,
) -> SlideRecord:
    """Tile one slide; of one that ended its child, the record says so, and it is tried again."""
    try:
        return place.call(tile_slide, image, slide, out, settings, mpp)
    except ChildEnded as error:
        why = {"code": error.code, "message": error.message}
    remove_leftovers(table_path(out, slide), record_path(out, slide), *picture_paths(out, slide))
    record = SlideRecord(
        slide=slide,
        image=image.name,
        status="failed",
        fingerprint=slide_fingerprint(image),
        settings_digest=settings.digest(),
        mpp_override=mpp,
        colour=settings.colour,
        **why,
    )
    try:
        return save_tiles(out, SlideTiles(_empty_table(), record))
    except InputError as error:
        refused = {"code": error.code, "message": f"{error.problem}. {error.remedy}"}
        return record.model_copy(update=refused)


def tile_cohort(
    cohort: Cohort,
    out: str | Path,
    settings: TileSettings,
    *,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    progress: Progress | None = None,
    place: Place = HERE,
) -> pd.DataFrame:
    """Tile every slide of a cohort; a row per slide, failed ones included.

    Parameters
    ----------
    workers : int
        Slides at a time.
    place : Place
        Where slides are opened: children end with a slide that crashes or never ends, and the
        others go on.
    part : (int, int)
        Which part of how many, from 1: slides ``part[0] - 1, part[0] - 1 + part[1], ...``.
    progress : callable, optional
        Called with each record as it is done.

    Returns
    -------
    pandas.DataFrame
        In the order of the cohort; also written to ``tiles.csv``, or for one of several parts to
        ``tiles.part-i-of-n.csv``.
    """
    number, parts = part
    if not 1 <= number <= parts:
        raise InputError(
            f"part {number} of {parts} does not exist", remedy=f"Use 1/{parts} to {parts}/{parts}"
        )
    name = TABLE if parts == 1 else f"tiles.part-{number}-of-{parts}.csv"
    check_own(Path(out) / name)  # said before hours of work, not after
    table = cohort.table.iloc[number - 1 :: parts]
    paths = dict(zip(cohort.table["slide"], cohort.image_paths(), strict=True))
    scales = [None if np.isnan(value) else float(value) for value in table["mpp"].to_numpy(float)]
    jobs = [(paths[name], name, mpp) for name, mpp in zip(table["slide"], scales, strict=True)]
    records: dict[str, SlideRecord] = {}
    with threads_at(place, workers) as pool:
        futures = [
            pool.submit(_tile_at, place, image, name, out, settings, mpp)
            for image, name, mpp in jobs
        ]
        for future in as_completed(futures):
            record = future.result()
            records[record.slide] = record
            if progress is not None:
                progress(record)
    summary = pd.DataFrame([summary_row(records[name]) for name in table["slide"]])
    summary["image"] = table["image"].to_numpy()
    summary.insert(1, "site", table["site"].to_numpy())
    counts = [
        name for name in summary.columns if name.startswith("tiles_") and name != "tiles_digest"
    ]
    summary[counts] = summary[counts].fillna(0).astype(int)
    remove_leftovers(Path(out) / name)
    with replacing_own(Path(out) / name) as temporary:
        summary.to_csv(temporary, index=False, lineterminator="\n")
    return summary


def tiles_of(
    slide: Slide, base: SlideRecord, settings: TileSettings
) -> tuple[SlideTiles, SlideMasks]:
    """Choose the tiles of an open slide; nothing is written.

    Parameters
    ----------
    base : SlideRecord
        What is known of the slide before it is looked at; the record of the tiles is made of it.

    Raises
    ------
    InputError
        Code ``resolution_too_low``, ``unreadable_slide`` or ``not_brightfield``.
    """
    check_resolution(slide, settings)
    geometry = lay_tiles(
        slide.dimensions,
        slide.level_downsamples,
        slide.mpp,
        tile_px=settings.tile_px,
        wanted_mpp=settings.mpp,
        stride_px=settings.stride_px,
        reducible=settings.decoding != "full",
    )
    masks = find_masks(slide, settings)
    check_brightfield(slide, masks)
    table, counts = select_tiles(slide, masks, geometry, settings)
    measured = {
        "counts": counts,
        "rates": {name: counts[name] / len(table) if len(table) else None for name in STATUSES},
        "tissue_mm2": _mm2(masks.tissue, masks),
        "fat_mm2": _mm2(masks.fat, masks),
        "white": tuple(masks.white.tolist()),
    }
    damage = damage_of(table, masks, geometry, slide.mpp)
    record = base.model_copy(
        update=facts_of(slide, geometry)
        | {"reduction": _reduction_of_features(slide, geometry, settings)}
        | measured
        | damage
        | outcome(counts, len(table), damage["lost_share"], geometry, settings)
    )
    pooled = pool_pixels(slide, SlideTiles(table, record))
    stain = {"macenko": fit_macenko(pooled, masks.white), "reinhard": fit_reinhard(pooled)}
    digest = {"tiles_digest": tiles_digest(table, record)}
    return SlideTiles(table, record.model_copy(update=stain | digest)), masks


def _reduction_of_features(slide: Slide, geometry: TileGeometry, settings: TileSettings) -> int:
    """By how much tiles are decoded smaller where they are encoded; 1: they are decoded whole."""
    if settings.decoding != "scaled":
        return 1
    return reduction_for(slide, geometry, settings, geometry.tile_px)


def _mm2(mask: np.ndarray, masks: SlideMasks) -> float:
    return float(mask.sum() * masks.overview.mpp**2 / 1e6)


def _empty_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "x": pd.Series(dtype=np.int64),
            "y": pd.Series(dtype=np.int64),
            "tissue": pd.Series(dtype=np.float32),
            "status": pd.Series(dtype=str),
        }
    )
