"""What must be so before a patient is forgotten: else a run would be lost, or hold somebody who left."""

from collections.abc import Iterator

import pandas as pd

from offsite.errors import InputError, InputErrors
from offsite.ownership import LINKED
from offsite.workflows.jobs.forgotten import Forgotten, returning
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients.found import Found
from offsite.workflows.patients.identity import cohort_with, stage_tables
from offsite.workflows.patients.run_plans import AGAIN

MENDABLE = frozenset(
    ("disk_full", "folder_in_use", "missing_package", "unknown_device", "encoder_weights",
     "trunk_weights", "trunk_changed", "unreadable_weights", "weights_do_not_fit", "wrong_weights")
)  # fmt: skip
"""Codes of what this machine lacks for a training, and not the cohort: the run waits, and is not lost."""


def refuse_unready(job: Job, found: Found) -> None:
    """Refuse to forget where runs could not be made again for a reason that can be mended first.

    Raises
    ------
    InputErrors
        Code ``linked_folder`` (a link below the output leads to a folder elsewhere, which is not
        looked through), ``forgotten_patient`` (the table has rows of somebody else who withdrew) or
        ``not_prepared`` (images of others have not been through a stage yet).
    """
    table = cohort_with(job).table
    others = table[table["patient"] != found.patient.patient]
    faults = [*_links(found), *returning(job, Forgotten(job), others), *_unprepared(job, found)]
    if faults:
        raise InputErrors(faults)


def _links(found: Found) -> Iterator[InputError]:
    for link in found.links:
        yield InputError(
            "the link leads to a folder elsewhere, and what it holds of the patient would stay unseen",
            file=link,
            remedy="Put the folder itself in its place, or remove the link",
            code=LINKED,
        )


def _unprepared(job: Job, found: Found) -> Iterator[InputError]:
    """Images that came to the cohort after the runs were made: no training would take it so."""
    if not any(plan.becomes == AGAIN for plan in found.runs):
        return
    slides = found.reduced.table["slide"]
    for stage in job.modality.stages:
        files = stage_tables(job, stage.table)
        if not files:
            continue
        rows = [pd.read_csv(file, dtype=str, keep_default_na=False) for file in files]
        missing = slides[~slides.isin(pd.concat(rows)["slide"])]
        if len(missing):
            yield InputError(
                f"{len(missing)} images of other patients have no row yet, and so no run could be"
                " made again",
                file=job.output / stage.table,
                remedy=f"Run `offsite workflow {stage.name}` first, then give this command again",
                code="not_prepared",
            )
