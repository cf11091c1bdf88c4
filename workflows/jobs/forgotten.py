"""``forgotten.json``: who was forgotten in a job, by keyed digests, and what was done.

It names nobody: whoever has the key (``tracking.names_key``) can ask whether a name is in it, and
nobody can read names from it. A patient of it is refused in every later cohort of the job.
"""

import hmac
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from offsite.errors import InputError
from offsite.files import read_json
from offsite.tables.words import tidy
from offsite.training.cells import Cell
from offsite.workflows.jobs.job import Job
from offsite.workflows.jobs.names_key import names_key
from offsite.written import check_own, write_own_json

RECORD = "forgotten.json"
RUNNING, DONE = "running", "done"
_DOMAIN = b"a patient who withdrew:"  # no other digest under this key is one of these


class Forgotten:
    """The record of a job.

    Parameters
    ----------
    job : Job
    make_key : bool
        Whether to make the key where there is none.

    Raises
    ------
    InputError
        The record is none of offsite's or was changed (``not_ours``), or its key is missing (``other_names_key``).
    """

    def __init__(self, job: Job, *, make_key: bool = False) -> None:
        self.file = job.output / RECORD
        self.entries: list[dict[str, Any]] = []
        check_own(self.file)
        if self.file.is_file():
            self.entries = read_json(self.file)["forgotten"]
        self._key = names_key(job.names_key_path, make=make_key and not self.entries)
        if self.entries and self._key is None:
            raise InputError(
                "the key that tells who was forgotten here is missing",
                file=job.names_key_path,
                remedy="Bring it back from where the job was first run, or name it in"
                " tracking.names_key",
                code="other_names_key",
            )

    def digest(self, patient: str) -> str:
        """HMAC-SHA-256 (hex) of a patient's name under the job's key; "" where there is no key."""
        if self._key is None:
            return ""
        return hmac.digest(self._key, _DOMAIN + tidy(patient).encode(), "sha256").hex()

    def of(self, patient: str) -> dict[str, Any] | None:
        """Return the entry of a patient, or None."""
        digest = self.digest(patient)
        return next((each for each in self.entries if each["patient"] == digest), None)

    def keep(self, entry: dict[str, Any]) -> None:
        """Write the record with an entry, in place of an earlier one of the same patient."""
        others = [each for each in self.entries if each["patient"] != entry["patient"]]
        self.entries = [*others, entry]
        write_own_json(self.file, {"version": 1, "forgotten": self.entries})


def returning_patients(job: Job, cells: Sequence[Cell]) -> Iterator[InputError]:
    """Yield a fault for each patient of the cohort who was forgotten in this job."""
    if not os.path.lexists(job.output / RECORD):
        return
    try:
        forgotten = Forgotten(job)
    except InputError as error:
        yield error
        return
    table = job.cohort.table
    yield from returning(job, forgotten, table.set_axis(range(2, len(table) + 2)))


def returning(job: Job, forgotten: Forgotten, table: pd.DataFrame) -> Iterator[InputError]:
    """Yield a fault for each patient of a table who was forgotten; its index is the row in the file."""
    for patient, rows in table.groupby("patient", sort=False):
        entry = forgotten.of(str(patient))
        if entry is None:
            continue
        done = entry["status"] == DONE
        yield InputError(
            f"this patient withdrew consent on {entry['since'][:10]}"
            + ("" if done else ", and is not yet forgotten to the end"),
            file=job.cohort_path,
            row=int(rows.index[0]),
            column="patient",
            remedy="Remove the patient's rows from the table"
            if done
            else "Run `offsite patient forget` again: it goes on where it stopped",
            code="forgotten_patient",
        )
