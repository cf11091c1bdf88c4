"""From tiles to features: one slide, or a whole cohort with a row for every slide."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.children.ended import ChildEnded, ChildrenClosed
from offsite.children.pool import HERE, Place, threads_at
from offsite.errors import InputError, disk_is_full
from offsite.files import remove_leftovers, state_of
from offsite.ownership import refuse_link
from offsite.pathology.features.file import (
    LAYOUTS,
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    is_fresh,
    read_features,
    remove_features,
    write_features,
)
from offsite.pathology.features.hdf5 import opened_hdf5
from offsite.pathology.tile_encoders.contract import TileEncoder, check_scale
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.formats.companions import companions
from offsite.preprocessing.slides.fingerprints import changed_while_read, slide_fingerprint
from offsite.preprocessing.tiles.reading import read_tiles
from offsite.preprocessing.tiles.table import SlideRecord, SlideTiles, load_tiles
from offsite.training.read_ahead import read_ahead
from offsite.written import check_own, replacing_own

TABLE = "features.csv"
EMBEDDED, NO_TILES, FAILED = "embedded", "no_tiles", "failed"
BATCH_TILES = 64
_AHEAD = 2  # batches that are decoded while the encoder works
_LOG = logging.getLogger(__name__)
Row = dict[str, Any]


def embed_cohort(
    cohort: Cohort,
    tiles_folder: str | Path,
    out: str | Path,
    encoder_settings: EncoderSettings,
    *,
    bits: int = 16,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[Row], None] | None = None,
    place: Place = HERE,
) -> pd.DataFrame:
    """Make the features of every slide of a cohort; what is there and still true is kept.

    Parameters
    ----------
    tiles_folder : path
        Where `offsite.preprocessing.tiles.tiling.tile_cohort` wrote.
    out : path
        Folder of the features; gets ``<slide>.h5`` and ``features.csv``.
    bits : int
        Of a number in the files, 16 or 8. A file of 16 bits that is still true is kept in 8 without
        opening its slide.
    workers : int
        Slides at a time.
    place : Place
        Where slides are opened: children end with a slide that crashes or never ends, and the
        others go on. The encoder runs in this process.
    part : (int, int)
        Which part of how many, from 1: slides ``part[0] - 1, part[0] - 1 + part[1], ...``.
    progress : callable, optional
        Called with each slide's row as it is done.

    Returns
    -------
    pandas.DataFrame
        A row per slide in the order of the cohort: ``slide, image, site, status`` (``embedded``,
        ``no_tiles``, ``failed``), ``code, message, tiles, unreadable, dimensions, encoder``. Also
        written to ``features.csv``, or for one of several parts to ``features.part-i-of-n.csv``.
    """
    number, parts = part
    if not 1 <= number <= parts:
        raise InputError(
            f"part {number} of {parts} does not exist", remedy=f"Use 1/{parts} to {parts}/{parts}"
        )
    refuse_link(out)
    name = TABLE if parts == 1 else f"features.part-{number}-of-{parts}.csv"
    check_own(Path(out) / name)  # said before hours of work, not after
    encoder = load_encoder(encoder_settings)
    known = _embedded_before(Path(out))
    table = cohort.table.iloc[number - 1 :: parts]
    paths = dict(zip(cohort.table["slide"], cohort.image_paths(), strict=True))

    def embed(slide: str) -> Row:
        row = _embed_slide(paths[slide], slide, tiles_folder, out, encoder, bits, known, place)
        if progress is not None:
            progress(row)
        return row

    with threads_at(place, workers) as pool:
        rows = pd.DataFrame(list(pool.map(embed, table["slide"])))
    rows.insert(1, "image", table["image"].to_numpy())
    rows.insert(2, "site", table["site"].to_numpy())
    remove_leftovers(Path(out) / name)
    with replacing_own(Path(out) / name) as temporary:
        rows.to_csv(temporary, index=False, lineterminator="\n")
    return rows


def encode_slide(
    image: str | Path,
    tiles: SlideTiles,
    encoder: TileEncoder,
    *,
    threads: int = 1,
    place: Place = HERE,
) -> SlideFeatures:
    """Return the features of a slide's kept tiles; tiles that cannot be decoded are left out.

    The slide is opened at ``place``, and encoded in this process.

    Raises
    ------
    InputError
        The scale is not the encoder's, the slide does not open, or a feature is not finite.
    """
    origin = origin_of(tiles.record, encoder)
    check_scale(encoder, origin.mpp)
    batches = place.stream(read_tiles, image, tiles, batch_size=BATCH_TILES, threads=threads)
    features, coords = [], []
    for batch in read_ahead(batches, _AHEAD):
        features.append(_half(encoder.encode(batch.pixels), image))
        coords.append(batch.coords)
    return SlideFeatures(
        features=np.concatenate(
            [np.empty((0, encoder.dimensions), np.float16), *features], dtype=np.float16
        ),
        coords=np.concatenate([np.empty((0, 2), np.int64), *coords]),
        origin=origin,
    )


def origin_of(record: SlideRecord, encoder: TileEncoder) -> FeatureOrigin:
    """Return what the features of a slide are made from, before they are made."""
    if record.tile_px is None or record.actual_mpp is None or record.size is None:
        raise InputError(
            f"slide '{record.slide}' has no tile geometry",
            file=record.image,
            remedy="Tile it again",
            code="not_tiled",
        )
    return FeatureOrigin(
        tile_px=record.tile_px,
        mpp=record.actual_mpp,
        tile_size_level0=float(record.size),
        bounds_x=record.bounds_offset[0],
        bounds_y=record.bounds_offset[1],
        encoder=encoder.name,
        encoder_digest=encoder.digest,
        slide_fingerprint=record.fingerprint,
        tiles_digest=record.tiles_digest,
    )


def _half(features: np.ndarray, image: str | Path) -> np.ndarray:
    limit = float(np.finfo(np.float16).max)
    if not np.isfinite(features).all() or np.abs(features).max(initial=0) > limit:
        raise InputError(
            "the encoder gave a feature that float16 cannot hold",
            file=image,
            remedy="Check the tiles and the encoder's weights",
            code="bad_features",
        )
    return features.astype(np.float16)


def _embed_slide(
    image: Path,
    slide: str,
    tiles_folder: str | Path,
    out: str | Path,
    encoder: TileEncoder,
    bits: int,
    known: frozenset[str],
    place: Place,
) -> Row:
    row: Row = {"slide": slide, "status": FAILED, "code": "", "message": "", "tiles": 0}
    row |= {"unreadable": 0, "dimensions": encoder.dimensions, "encoder": encoder.name}
    path = feature_path(out, slide)
    try:
        remove_leftovers(path)
        tiles = load_tiles(tiles_folder, slide)
        kept = tiles.record.kept
        if not kept:
            remove_features(path, recorded=slide in known)
            why = tiles.record.message or "No tile was kept"
            return row | {"status": NO_TILES, "code": tiles.record.code, "message": why}
        origin = origin_of(tiles.record, encoder)
        check_scale(encoder, origin.mpp)
        wanted = origin.model_copy(update={"version": LAYOUTS[bits]})
        if not is_fresh(path, wanted):
            whole = read_features(path) if is_fresh(path, origin) else None
            # Stale features must not outlive a failure.
            remove_features(path, recorded=slide in known)
            features = whole or _encoded(image, tiles, encoder, place)
            write_features(path, replace(features, origin=wanted))
        written = _count(path)
        return row | {"status": EMBEDDED, "tiles": written, "unreadable": kept - written}
    except InputError as error:
        why = f"{error.problem}. {error.remedy}"
        with suppress(InputError):
            remove_features(path, recorded=slide in known)
        return row | {"code": error.code, "message": why}
    except ChildEnded as error:
        with suppress(InputError):
            remove_features(path, recorded=slide in known)
        return row | {"code": error.code, "message": error.message}
    except ChildrenClosed:
        raise
    except Exception as error:  # a fault of ours must not end a night's batch
        if disk_is_full(error):  # nor may a full disk count as a fault of the slide
            raise
        _LOG.exception("slide %s", slide)
        with suppress(InputError):
            remove_features(path, recorded=slide in known)
        return row | {"code": "internal_error", "message": f"{type(error).__name__}: {error}"}


def _encoded(image: Path, tiles: SlideTiles, encoder: TileEncoder, place: Place) -> SlideFeatures:
    """The features of the very slide that was tiled."""
    files = [image, *companions(image)]
    state = state_of(files)
    if tiles.record.fingerprint and slide_fingerprint(image) != tiles.record.fingerprint:
        raise InputError(
            "the slide is another than the one that was tiled",
            file=image,
            remedy="Run `offsite workflow tile` again",
            code="not_tiled",
        )
    features = encode_slide(image, tiles, encoder, place=place)
    if state_of(files) != state:
        raise changed_while_read(image)
    return features


def _embedded_before(folder: Path) -> frozenset[str]:
    """The slides whose features the tables of earlier calls name."""
    slides: set[str] = set()
    for table in folder.glob("features*.csv"):
        with suppress(OSError, ValueError):
            rows = pd.read_csv(table, dtype=str, keep_default_na=False)
            if {"slide", "status"} <= set(rows.columns):
                slides |= set(rows.loc[rows["status"] == EMBEDDED, "slide"])
    return frozenset(slides)


def _count(path: Path) -> int:
    again = "Run `offsite workflow embed` again: it makes the file anew"
    with opened_hdf5(path, first=again, again=again) as file:
        return int(file["features"].shape[0])
