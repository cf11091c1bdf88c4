"""The stage from picture files to arrays; each picture ends as a row."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.files import digest_of, replacing
from offsite.training.modality import Advance, ImageJob, ImageStage
from offsite.training.stale_inputs import other_settings
from offsite.training.steps import part_table
from offsite_greys.pictures import read_picture


def folder_of(job: ImageJob) -> Path:
    """Return the folder of shrunk pictures."""
    return job.output / "shrunk"


def settings_digest(job: ImageJob) -> str:
    """Return the digest of what the arrays are made with."""
    return digest_of({"side": job.configuration.side})[:16]


def _shrink(job: ImageJob, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    number, parts = part
    rows = [
        _shrunk(job, record) for record in
        job.cohort.table.iloc[number - 1 :: parts].to_dict("records") if advance() is None
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    with replacing(folder_of(job) / part_table("shrunk.csv", part)) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return table


def _shrunk(job: ImageJob, record: dict[Any, Any]) -> dict[str, Any]:
    row = {name: record[name] for name in ("slide", "image", "site")}
    row |= {"status": "ok", "code": "", "message": "", "settings_digest": settings_digest(job)}
    file = folder_of(job) / f"{record['slide']}.npy"
    try:
        pixels = read_picture(job.cohort.path.parent / record["image"], job.configuration.side)
    except InputError as error:
        message = f"{error.problem}. {error.remedy}"
        return {**row, "status": "failed", "code": error.code, "message": message}
    with replacing(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, pixels, allow_pickle=False)
    return row


SHRINK = ImageStage(
    name="shrink",
    help="""Make every picture small and grey.

Takes a job of grey pictures; gives shrunk.csv, a row for every picture, and an array for each.

Example: offsite workflow shrink job.yaml""",
    settings=("side",),
    table="shrunk/shrunk.csv",
    run=_shrink,
)


def shrunk_table(job: ImageJob) -> pd.DataFrame:
    """Return the stage's table.

    Raises
    ------
    InputError
        Code ``not_shrunk``: there is none.
    """
    file = job.output / SHRINK.table
    if not file.is_file():
        raise InputError(
            "no shrunk pictures here", file=file, remedy="Run `offsite workflow shrink` first",
            code="not_shrunk",
        )  # fmt: skip
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def check_inputs(job: ImageJob) -> None:
    """Refuse to train on arrays of other settings."""
    table = shrunk_table(job)
    stale = table.loc[table["settings_digest"] != settings_digest(job), "slide"]
    if len(stale):
        raise other_settings(job.file, "shrink", "pictures were shrunk", stale)


def image_tables(job: ImageJob) -> dict[str, pd.DataFrame]:
    """Return the share of pictures by site that cannot be read."""
    failed = shrunk_table(job).assign(rate=lambda table: table["status"] != "ok")
    counts = failed.groupby("site")["rate"].agg(["mean", "size"]).reset_index()
    quality = counts.rename(columns={"mean": "rate", "size": "n"}).assign(measure="not readable")
    return {"quality": quality[["site", "measure", "rate", "n"]]}
