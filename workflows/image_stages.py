"""The stages of a job from images to what a model reads: a row for each image, failed ones too."""

from pathlib import Path

import pandas as pd

from preprocessing.errors import InputError
from preprocessing.files import replacing
from workflows.console import Advance, stage
from workflows.job import Job


def run(job: Job, name: str, workers: int = 1, part: tuple[int, int] = (1, 1)) -> pd.DataFrame:
    """Run the stage ``tile``, ``embed`` or ``prepare`` on one part of the job's images.

    What is there and still true is kept. Returns the stage's table, also written as CSV.

    Raises
    ------
    InputError
        The job's task has no such stage.
    """
    stages = {"pathology": {"tile": _tile, "embed": _embed}}[job.configuration.task]
    if name not in stages:
        raise InputError(
            f"a {job.configuration.task} job has no stage '{name}'", file=job.file,
            remedy=f"Its stages are {', '.join(stages)}, then train",
        )  # fmt: skip
    total = len(job.cohort.table.iloc[part[0] - 1 :: part[1]])
    with stage(name, total) as advance:
        return stages[name](job, workers, part, advance)


def join(job: Job, name: str, parts: int) -> pd.DataFrame:
    """Join the tables of a stage's parts into one, in the order of the cohort.

    Raises
    ------
    InputError
        A part is missing.
    """
    table = table_of(job, name)
    if parts > 1:
        files = [
            table.with_name(f"{table.stem}.part-{number}-of-{parts}.csv")
            for number in range(1, parts + 1)
        ]
        for number, file in enumerate(files, start=1):
            if not file.is_file():
                raise InputError(
                    f"part {number} of {parts} is missing", file=file,
                    remedy=f"Run `offsite {name} ... --part {number}/{parts}`",
                )  # fmt: skip
        rows = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in files])
        order = {slide: place for place, slide in enumerate(job.cohort.table["slide"])}
        rows = rows.sort_values("slide", key=lambda slides: slides.map(order), kind="stable")
        with replacing(table) as temporary:
            rows.to_csv(temporary, index=False, lineterminator="\n")
    return pd.read_csv(table)


def table_of(job: Job, name: str) -> Path:
    """Return where a stage's table is."""
    return {
        "tile": job.output / "tiles.csv",
        "embed": job.features / "features.csv",
        "prepare": job.prepared / "prepared.csv",
    }[name]


def _tile(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from preprocessing.tiling import tile_cohort

    return tile_cohort(
        job.cohort, job.output, job.configuration.tiles,
        workers=workers, part=part, progress=advance,
    )  # fmt: skip


def _embed(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from pathology.embedding import embed_cohort

    return embed_cohort(
        job.cohort, job.output, job.features, job.configuration.encoder,
        workers=workers, part=part, progress=advance,
    )  # fmt: skip
