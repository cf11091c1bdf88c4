"""The stages of a pathology job before training: tiles and features, a row for each slide."""

from typing import Any

import pandas as pd

from workflows.console import stage
from workflows.job import Job


def tile(job: Job, workers: int = 1, part: tuple[int, int] = (1, 1)) -> pd.DataFrame:
    """Tile the job's slides; return ``tiles.csv``."""
    from preprocessing.tiling import tile_cohort

    total = len(job.cohort.table.iloc[part[0] - 1 :: part[1]])
    with stage("tile", total) as advance:
        return tile_cohort(
            job.cohort, job.output, job.configuration.tiles,
            workers=workers, part=part, progress=advance,
        )  # fmt: skip


def embed(job: Job, workers: int = 1, part: tuple[int, int] = (1, 1)) -> pd.DataFrame:
    """Encode the job's tiles; return ``features.csv``."""
    from pathology.embedding import embed_cohort

    total = len(job.cohort.table.iloc[part[0] - 1 :: part[1]])
    with stage("embed", total) as advance:
        return embed_cohort(
            job.cohort, job.output, job.features, job.configuration.encoder,
            workers=workers, part=part, progress=advance,
        )  # fmt: skip


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Counts by status, for people."""
    return {str(status): int(count) for status, count in table["status"].value_counts().items()}
