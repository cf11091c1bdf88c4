"""The stages of a job from images to what a model reads: a row for each image, failed ones too."""

from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.locks import writing
from offsite.training.modality import ImageStage
from offsite.training.steps import part_table
from offsite.workflows.console.messages import stage
from offsite.workflows.jobs.job import Job
from offsite.written import replacing_own


def run(job: Job, name: str, workers: int = 1, part: tuple[int, int] = (1, 1)) -> pd.DataFrame:
    """Run a stage of the modality on one part of the job's images.

    What is there and still true is kept. Returns the stage's table, also written as CSV.

    Raises
    ------
    InputError
        The job's task has no such stage, or what it reads was made with other settings.
    """
    one = _stage_of(job, name)
    total = len(job.cohort.table.iloc[part[0] - 1 :: part[1]])
    with writing(job.output, name, _share(part)):
        if not total:
            return _empty(job, one, part)
        with stage(name, total) as advance:
            return one.run(job, workers, part, advance)


def join(job: Job, name: str, parts: int) -> pd.DataFrame:
    """Join the tables of a stage's parts into one, in the order of the cohort.

    Raises
    ------
    InputError
        A part is missing, or the parts are not of this cohort (code ``other_cohort``).
    """
    if _stage_of(
        job, name
    ).writes_whole:  # its whole is made from what its parts left: nothing is done again
        return run(job, name)
    table = table_of(job, name)
    with writing(job.output, name):
        return _joined(job, name, table, parts)


def _joined(job: Job, name: str, table: Path, parts: int) -> pd.DataFrame:
    if parts > 1:
        files = [_part_of(table, (number, parts)) for number in range(1, parts + 1)]
        for number, file in enumerate(files, start=1):
            if not file.is_file():
                raise InputError(
                    f"part {number} of {parts} is missing",
                    file=file,
                    remedy=f"Run `offsite workflow {name} ... --part {number}/{parts}`",
                )
        rows = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in files])
        order = {slide: position for position, slide in enumerate(job.cohort.table["slide"])}
        if sorted(rows["slide"]) != sorted(order):
            raise InputError(
                f"the parts hold other images than the cohort ({len(rows)} and {len(order)})",
                file=table,
                code="other_cohort",
                remedy=f"Run `offsite workflow {name} ... --part 1/{parts}` to {parts}/{parts} again",
            )
        rows = rows.sort_values("slide", key=lambda slides: slides.map(order), kind="stable")
        with replacing_own(table) as temporary:
            rows.to_csv(temporary, index=False, lineterminator="\n")
    return pd.read_csv(table, dtype={"slide": str, "site": str}, keep_default_na=False)


def make_extra(
    job: Job, name: str, extra: str, table: pd.DataFrame, part: tuple[int, int] = (1, 1)
) -> None:
    """Make one of the stage's extras from its table."""
    with writing(job.output, name, _share(part)):
        _stage_of(job, name).does[extra](job, table)


def table_of(job: Job, name: str) -> Path:
    """Return where the table of a stage is."""
    return job.output / _stage_of(job, name).table


def _stage_of(job: Job, name: str) -> ImageStage:
    one = next((stage for stage in job.stages if stage.name == name), None)
    if one is None:
        known = ", ".join(each.name for each in job.stages)
        raise InputError(
            f"this {job.configuration.task} job has no stage '{name}'",
            file=job.file,
            remedy=f"Its stages are {known}, then train",
        )
    return one


def _part_of(table: Path, part: tuple[int, int]) -> Path:
    return table.with_name(part_table(table.name, part))


def _share(part: tuple[int, int]) -> str:
    return f"{part[0]}/{part[1]}" if part[1] > 1 else ""


def _empty(job: Job, one: ImageStage, part: tuple[int, int]) -> pd.DataFrame:
    """The table of a part that no image falls to: there are more parts than images."""
    table = pd.DataFrame(columns=["slide", "image", "site", "status", "code", "message"])
    if not one.writes_whole:
        with replacing_own(_part_of(job.output / one.table, part)) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    return table
