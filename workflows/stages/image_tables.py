"""What the report shows of a job's images: quality, acquisition, stain and confounding by site."""

from pathlib import Path

import pandas as pd

from offsite.preprocessing.fundus.cohort import read_prepared
from offsite.preprocessing.slide_report import (
    acquisition_table,
    confounding_table,
    exclusion_table,
    stain_table,
)
from offsite.preprocessing.tiles.table import load_record
from offsite.workflows.jobs.configuration import PathologyConfiguration
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.images import table_of

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
    "width",
    "height",
    "tile_px",
    "stride",
    "read_px",
    "downsample",
)
_TEXT = ("_source", "_digest")


def image_tables(job: Job) -> dict[str, pd.DataFrame]:
    """Return the tables by name; what a job has not measured is left out.

    ``quality`` (``site, measure, rate, n``), ``confounding``, and for slides ``acquisition`` and
    ``stain``; see docs/evaluation/report.md.
    """
    factors = [name for name in ("site", "scanner") if name in job.cohort.table.columns]
    tables = {"confounding": confounding_table(job.cohort.table, factors=factors)}
    if isinstance(job.configuration, PathologyConfiguration):
        tables |= _of_slides(job)
    elif (job.prepared / "prepared.csv").is_file():
        prepared, _ = read_prepared(job.prepared)
        tables["quality"] = _photograph_quality(prepared)
    return {name: table for name, table in tables.items() if len(table)}


def _of_slides(job: Job) -> dict[str, pd.DataFrame]:
    if not table_of(job, "tile").is_file():
        return {}
    slides = _read(table_of(job, "tile"))
    records = [load_record(job.output, slide) for slide in slides["slide"]]
    sites = dict(zip(slides["slide"], slides["site"], strict=True))
    return {
        "quality": _slide_quality(exclusion_table(slides)),
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


def _slide_quality(exclusions: pd.DataFrame) -> pd.DataFrame:
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


def _photograph_quality(prepared: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for site, part in prepared.groupby("site"):
        readable = part[part["status"] == "ok"]
        ungradable = (~readable["gradable"]).mean() if len(readable) else None
        failed = (part["status"] != "ok").mean()
        rows += [
            {"site": site, "measure": "not readable", "rate": failed, "n": len(part)},
            {"site": site, "measure": "ungradable", "rate": ungradable, "n": len(readable)},
        ]
    return pd.DataFrame(rows)
