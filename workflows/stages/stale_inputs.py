"""Whether what a stage reads was made with the settings that the configuration names."""

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.preprocessing.fundus.cohort import read_prepared
from offsite.preprocessing.tiles.table import load_record
from offsite.workflows.jobs.configuration import PathologyConfiguration, RetinaConfiguration
from offsite.workflows.jobs.job import Job


def check_tiles(job: Job, part: tuple[int, int]) -> None:
    """Refuse to embed tiles of other settings, or of another scale than the cohort now gives.

    A slide that was never tiled has its own row.

    Raises
    ------
    InputError
        Code ``other_settings``.
    """
    assert isinstance(job.configuration, PathologyConfiguration)
    digest = job.configuration.tiles.digest()
    table = job.cohort.table.iloc[part[0] - 1 :: part[1]]
    stale = []
    for slide, mpp in zip(table["slide"], table["mpp"], strict=True):
        record = load_record(job.output, slide)
        wanted = (digest, None if np.isnan(mpp) else float(mpp))
        if record is not None and (record.settings_digest, record.mpp_override) != wanted:
            stale.append(slide)
    if stale:
        raise _other_settings(job, "tile", "slides were tiled", stale)


def check_training_inputs(job: Job) -> None:
    """Refuse to train on tiles or photographs of other settings than the configuration's.

    A run's ``configuration.json`` would else tell what the model was never shown.

    Raises
    ------
    InputError
        Code ``other_settings``, or as `offsite.preprocessing.fundus.cohort.read_prepared`.
    """
    configuration = job.configuration
    if isinstance(configuration, RetinaConfiguration):
        table, settings = read_prepared(job.prepared)
        if settings != configuration.preparation:
            raise _other_settings(job, "prepare", "photographs were prepared", table["slide"])
        return
    table_file = job.output / "tiles.csv"
    if not table_file.is_file():  # of features made elsewhere nothing is known here
        return
    table = pd.read_csv(table_file, dtype=str, keep_default_na=False)
    stale = table.loc[table["settings_digest"] != configuration.tiles.digest(), "slide"]
    stale = stale[stale.isin(job.cohort.table["slide"])]
    if len(stale):
        raise _other_settings(job, "tile", "slides were tiled", stale)


def _other_settings(job: Job, stage: str, what: str, items: "list[str] | pd.Series") -> InputError:
    first = next(iter(items))
    return InputError(
        f"{len(items)} {what} with other settings ({first}, ...)",
        file=job.file,
        code="other_settings",
        remedy=f"Run `offsite {stage}` and what follows it again, or restore the settings",
    )
