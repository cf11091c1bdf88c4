"""The stages of slides, tiles and features, and whether and how they were measured."""

from pathlib import Path

import numpy as np
import pandas as pd

from offsite.children.pool import Children
from offsite.pathology import steps
from offsite.pathology.features.source import FeatureSource
from offsite.preprocessing.tiles.table import load_record
from offsite.training.modality import Advance, ImageJob, ImageStage
from offsite.training.stale_inputs import other_settings

_NUMBERS = (
    "mpp",
    "actual_mpp",
    "requested_mpp",
    "size",
    "jpeg_quality",
    "levels",
    "level",
    "tiles_",
    "rate_",
    "tissue_mm2",
    "lost_mm2",
    "lost_share",
    "fat_mm2",
    "width",
    "height",
    "tile_px",
    "stride",
    "read_px",
    "downsample",
)
_TEXT = ("_source", "_digest")


def features_of(job: ImageJob) -> Path:
    """Return the folder of what offsite makes of features: the files too, where it encodes slides."""
    return job.output / "features"


def source_of(job: ImageJob) -> FeatureSource:
    """Return where the feature files lie: in the output, or in the folder that the job names."""
    given = job.configuration.features
    own = features_of(job)
    if given.folder is None:
        return FeatureSource(own, own)
    return FeatureSource(job.file.parent / given.folder, own, given.encoder)


def _tile(job: ImageJob, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from offsite.preprocessing.tiles.tiling import tile_cohort

    with Children(workers, job.configuration.reading) as children:
        return tile_cohort(
            job.cohort,
            job.output,
            job.configuration.tiles,
            workers=workers,
            part=part,
            progress=advance,
            place=children,
        )


def _embed(job: ImageJob, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    source = source_of(job)
    if source.encoder is not None:
        from offsite.pathology.features.survey import survey_features

        with Children(workers, job.configuration.reading) as children:
            return survey_features(
                job.cohort, source, workers=workers, part=part, progress=advance, place=children
            )
    from offsite.pathology.features.embedding import embed_cohort

    check_tiles(job, part)
    with Children(workers, job.configuration.reading) as children:
        return embed_cohort(
            job.cohort,
            job.output,
            features_of(job),
            job.configuration.encoder,
            bits=job.configuration.features.bits,
            workers=workers,
            part=part,
            progress=advance,
            place=children,
        )


def _geojson(job: ImageJob, table: pd.DataFrame) -> list[Path]:
    """Write ``tiles/<slide>.geojson`` for each slide that has tiles."""
    from offsite.preprocessing.tiles.geojson import export_geojson

    done = table.loc[table["status"] == "done", "slide"].astype(str)
    return [export_geojson(job.output, slide) for slide in done]


def _pictures(job: ImageJob, table: pd.DataFrame) -> Path:
    """Write ``tiles.html``, and a picture for each slide of the table."""
    from offsite.preprocessing.tiles.page import write_page

    known = job.cohort.table
    sites = dict(zip(known["slide"].astype(str), known["site"].astype(str), strict=True))
    return write_page(job.output, sites, anew=list(table["slide"].astype(str)))


TILE = ImageStage(**vars(steps.TILE), run=_tile, does={"geojson": _geojson, "pictures": _pictures})
EMBED = ImageStage(**vars(steps.EMBED), run=_embed)


def check_tiles(job: ImageJob, part: tuple[int, int]) -> None:
    """Refuse to embed tiles of other settings, or of another scale than the cohort now gives.

    A slide that was never tiled has its own row.

    Raises
    ------
    InputError
        Code ``other_settings``.
    """
    digest = job.configuration.tiles.digest()
    table = job.cohort.table.iloc[part[0] - 1 :: part[1]]
    stale = []
    for slide, mpp in zip(table["slide"], table["mpp"], strict=True):
        record = load_record(job.output, slide)
        wanted = (digest, None if np.isnan(mpp) else float(mpp))
        if record is not None and (record.settings_digest, record.mpp_override) != wanted:
            stale.append(slide)
    if stale:
        raise other_settings(job.file, "tile", "slides were tiled", stale)


def check_inputs(job: ImageJob) -> None:
    """Refuse to train on tiles of other settings than the configuration's.

    Raises
    ------
    InputError
        Code ``other_settings``.
    """
    table_file = job.output / TILE.table
    if (
        source_of(job).encoder or not table_file.is_file()
    ):  # of features made elsewhere nothing is known here
        return
    table = pd.read_csv(table_file, dtype=str, keep_default_na=False)
    stale = table.loc[table["settings_digest"] != job.configuration.tiles.digest(), "slide"]
    stale = stale[stale.isin(job.cohort.table["slide"])]
    if len(stale):
        raise other_settings(job.file, "tile", "slides were tiled", stale)


def image_tables(job: ImageJob) -> dict[str, pd.DataFrame]:
    """Return ``quality``, ``acquisition`` and ``stain`` of the slides, once they are tiled."""
    from offsite.preprocessing.slide_report import acquisition_table, exclusion_table, stain_table

    if source_of(job).encoder or not (job.output / TILE.table).is_file():
        return {}
    slides = _read(job.output / TILE.table)
    records = [load_record(job.output, slide) for slide in slides["slide"]]
    sites = dict(zip(slides["slide"], slides["site"], strict=True))
    return {
        "quality": _quality(exclusion_table(slides)),
        "acquisition": acquisition_table(slides),
        "stain": stain_table(sites, [record for record in records if record is not None]),
    }


def _read(path: Path) -> pd.DataFrame:
    """Read a stage's table; names stay text, also where they are NA or 007."""
    header = pd.read_csv(path, nrows=0).columns
    numbers = [name for name in header if name.startswith(_NUMBERS) and not name.endswith(_TEXT)]
    return pd.read_csv(
        path,
        keep_default_na=False,
        na_values={name: [""] for name in numbers},
        dtype={name: str for name in header if name not in numbers and name != "icc_profile"},
    )


def _quality(exclusions: pd.DataFrame) -> pd.DataFrame:
    """Shares of the tiles with tissue, by what became of them."""
    rates = [name for name in exclusions.columns if name.startswith("rate_")]
    rows = [
        {
            "site": row["site"],
            "measure": f"tiles {name.removeprefix('rate_')}",
            "rate": row[name],
            "n": row["tiles_with_tissue"],
        }
        for row in exclusions.to_dict("records")
        for name in rates
    ]
    table = pd.DataFrame(rows, columns=["site", "measure", "rate", "n"])
    seen = table.groupby("measure")["rate"].transform("max") > 0
    return table[seen].reset_index(drop=True)
