"""The stage of photographs, their preparation, and whether and how they were measured."""

from pathlib import Path

import pandas as pd

from offsite.children.pool import Children
from offsite.preprocessing.fundus.cohort import read_prepared
from offsite.retina import steps
from offsite.training.modality import Advance, ImageJob, ImageStage
from offsite.training.stale_inputs import other_settings


def prepared_of(job: ImageJob) -> Path:
    """Return the folder of prepared photographs."""
    return job.output / "prepared"


def _prepare(job: ImageJob, workers: int, part: tuple[int, int], advance: Advance) -> pd.DataFrame:
    from offsite.preprocessing.fundus.cohort import prepare_cohort

    with Children(workers, job.configuration.reading) as children:
        return prepare_cohort(
            job.cohort,
            prepared_of(job),
            job.configuration.preparation,
            workers=workers,
            part=part,
            progress=advance,
            place=children,
        )


PREPARE = ImageStage(**vars(steps.PREPARE), run=_prepare)


def check_inputs(job: ImageJob) -> None:
    """Refuse to train on photographs of other settings than the configuration's.

    Raises
    ------
    InputError
        Code ``other_settings``, or as `offsite.preprocessing.fundus.cohort.read_prepared`.
    """
    table, settings = read_prepared(prepared_of(job))
    if settings != job.configuration.preparation:
        raise other_settings(job.file, "prepare", "photographs were prepared", table["slide"])


def image_tables(job: ImageJob) -> dict[str, pd.DataFrame]:
    """Return ``quality`` of the photographs, once they are prepared."""
    if not (job.output / PREPARE.table).is_file():
        return {}
    prepared, _ = read_prepared(prepared_of(job))
    return {"quality": _quality(prepared)}


def _quality(prepared: pd.DataFrame) -> pd.DataFrame:
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
