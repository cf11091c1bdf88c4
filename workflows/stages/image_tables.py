"""What the report shows of a job's images: quality, acquisition, stain and confounding by site."""

import pandas as pd

from offsite.preprocessing.slide_report import confounding_table
from offsite.workflows.jobs.job import Job


def image_tables(job: Job) -> dict[str, pd.DataFrame]:
    """Return the tables by name; what a job has not measured is left out.

    ``confounding``, and of the modality ``quality`` (``site, measure, rate, n``) and more; see
    docs/evaluation/report.md.
    """
    factors = [name for name in ("site", "scanner") if name in job.cohort.table.columns]
    tables = {"confounding": confounding_table(job.cohort.table, factors=factors)}
    tables |= job.modality.image_tables(job)
    return {name: table for name, table in tables.items() if len(table)}
