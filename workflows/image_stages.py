"""The stages of a job from images to what a model reads: a row for each image, failed ones too."""

from pathlib import Path

import pandas as pd

from preprocessing.errors import InputError
from preprocessing.files import replacing
from workflows.configurations import PathologyConfiguration, RetinaConfiguration
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
    stages = _STAGES[job.configuration.task]
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
    if name == "prepare":  # its whole is made from what its parts left: nothing is done again
        return run(job, name)
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
    """Return where the table of ``tile`` or ``embed`` is."""
    return job.output / "tiles.csv" if name == "tile" else job.features / "features.csv"


def _tile(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from preprocessing.tiling import tile_cohort

    assert isinstance(job.configuration, PathologyConfiguration)
    return tile_cohort(
        job.cohort, job.output, job.configuration.tiles,
        workers=workers, part=part, progress=advance,
    )  # fmt: skip


def _embed(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from pathology.embedding import embed_cohort

    assert isinstance(job.configuration, PathologyConfiguration)
    return embed_cohort(
        job.cohort, job.output, job.features, job.configuration.encoder,
        workers=workers, part=part, progress=advance,
    )  # fmt: skip


def _prepare(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from preprocessing.fundus.cohort import prepare_cohort

    assert isinstance(job.configuration, RetinaConfiguration)
    number, parts = part
    return prepare_cohort(
        job.cohort, job.prepared, job.configuration.preparation, workers=workers,
        part=(number - 1, parts) if parts > 1 else None, progress=advance,
    )  # fmt: skip


_STAGES = {"pathology": {"tile": _tile, "embed": _embed}, "retina": {"prepare": _prepare}}
