"""The stages of a job from images to what a model reads: a row for each image, failed ones too."""

from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.files import replacing
from offsite.locks import writing
from offsite.workflows.console.messages import Advance, stage
from offsite.workflows.jobs.configuration import PathologyConfiguration, RetinaConfiguration
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.stale_inputs import check_tiles


def run(job: Job, name: str, workers: int = 1, part: tuple[int, int] = (1, 1)) -> pd.DataFrame:
    """Run the stage ``tile``, ``embed`` or ``prepare`` on one part of the job's images.

    What is there and still true is kept. Returns the stage's table, also written as CSV.

    Raises
    ------
    InputError
        The job's task has no such stage, or what it reads was made with other settings.
    """
    stages = _STAGES[job.configuration.task]
    if name not in stages:
        raise InputError(
            f"a {job.configuration.task} job has no stage '{name}'",
            file=job.file,
            remedy=f"Its stages are {', '.join(stages)}, then train",
        )
    total = len(job.cohort.table.iloc[part[0] - 1 :: part[1]])
    if not total:
        return _empty(job, name, part)
    share = f"{part[0]}/{part[1]}" if part[1] > 1 else ""
    with writing(job.output, name, share), stage(name, total) as advance:
        return stages[name](job, workers, part, advance)


def join(job: Job, name: str, parts: int) -> pd.DataFrame:
    """Join the tables of a stage's parts into one, in the order of the cohort.

    Raises
    ------
    InputError
        A part is missing, or the parts are not of this cohort (code ``other_cohort``).
    """
    if name == "prepare":  # its whole is made from what its parts left: nothing is done again
        return run(job, name)
    table = table_of(job, name)
    if parts > 1:
        files = [_part_of(table, (number, parts)) for number in range(1, parts + 1)]
        for number, file in enumerate(files, start=1):
            if not file.is_file():
                raise InputError(
                    f"part {number} of {parts} is missing",
                    file=file,
                    remedy=f"Run `offsite {name} ... --part {number}/{parts}`",
                )
        rows = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in files])
        order = {slide: place for place, slide in enumerate(job.cohort.table["slide"])}
        if sorted(rows["slide"]) != sorted(order):
            raise InputError(
                f"the parts hold other images than the cohort ({len(rows)} and {len(order)})",
                file=table,
                code="other_cohort",
                remedy=f"Run `offsite {name} ... --part 1/{parts}` to {parts}/{parts} again",
            )
        rows = rows.sort_values("slide", key=lambda slides: slides.map(order), kind="stable")
        with replacing(table) as temporary:
            rows.to_csv(temporary, index=False, lineterminator="\n")
    return pd.read_csv(table)


def export_geojson(job: Job, table: pd.DataFrame) -> list[Path]:
    """Write ``tiles/<slide>.geojson`` for each slide of the table of ``tile`` that has tiles."""
    from offsite.preprocessing.tiles import geojson

    return [
        geojson.export_geojson(job.output, slide)
        for slide in table.loc[table["status"] == "done", "slide"].astype(str)
    ]


def table_of(job: Job, name: str) -> Path:
    """Return where the table of ``tile`` or ``embed`` is."""
    return job.output / "tiles.csv" if name == "tile" else job.features / "features.csv"


def _part_of(table: Path, part: tuple[int, int]) -> Path:
    return table.with_name(f"{table.stem}.part-{part[0]}-of-{part[1]}.csv")


def _empty(job: Job, name: str, part: tuple[int, int]) -> pd.DataFrame:
    """The table of a part that no image falls to: there are more parts than images."""
    table = pd.DataFrame(columns=["slide", "image", "site", "status", "code", "message"])
    if name != "prepare":
        with replacing(_part_of(table_of(job, name), part)) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    return table


def _tile(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from offsite.preprocessing.tiles.tiling import tile_cohort

    assert isinstance(job.configuration, PathologyConfiguration)
    return tile_cohort(
        job.cohort,
        job.output,
        job.configuration.tiles,
        workers=workers,
        part=part,
        progress=advance,
    )


def _embed(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from offsite.pathology.features.embedding import embed_cohort

    assert isinstance(job.configuration, PathologyConfiguration)
    check_tiles(job, part)
    return embed_cohort(
        job.cohort,
        job.output,
        job.features,
        job.configuration.encoder,
        workers=workers,
        part=part,
        progress=advance,
    )


def _prepare(job: Job, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from offsite.preprocessing.fundus.cohort import prepare_cohort

    assert isinstance(job.configuration, RetinaConfiguration)
    number, parts = part
    return prepare_cohort(
        job.cohort,
        job.prepared,
        job.configuration.preparation,
        workers=workers,
        part=(number - 1, parts) if parts > 1 else None,
        progress=advance,
    )


_STAGES = {"pathology": {"tile": _tile, "embed": _embed}, "retina": {"prepare": _prepare}}
