"""By what a patient is known in a job: its name, its images, and the digests of these."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pyarrow as pa

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.table import Cohort, read_cohort
from offsite.training.run_folder import RECORD
from offsite.workflows.jobs.job import Job

_DIGESTS = ("fingerprint", "prepared_digest", "tiles_digest")
_SHORTEST = 5  # letters; a shorter name is a word or number of anything


@dataclass(frozen=True)
class Identity:
    """A patient of a job.

    Attributes
    ----------
    patient : str
    images, slides : frozenset of str
        Of its rows in the cohort, or in what was made of earlier ones.
    digests : frozenset of str
        SHA-256 (hex) of what was read and made of its images.
    """

    patient: str
    images: frozenset[str]
    slides: frozenset[str]
    digests: frozenset[str]

    @cached_property
    def cells(self) -> frozenset[str]:
        """What a cell of a table that holds the patient is."""
        named = {Path(image).name for image in self.images}
        return frozenset({self.patient} | self.images | named | self.slides | self.digests)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Those of `cells` that are looked for in running text: no plain number, no short word."""
        return tuple(sorted(cell for cell in self.cells if is_telling(cell)))

    @cached_property
    def pattern(self) -> re.Pattern[bytes] | None:
        """Finds a word in bytes, where no letter or digit goes before or after it."""
        if not self.words:
            return None
        spelt = {each for word in self.words for each in _spellings(word)}
        one_of = b"|".join(re.escape(each.encode()) for each in sorted(spelt, key=len)[::-1])
        return re.compile(rb"(?<![0-9A-Za-z])(?:" + one_of + rb")(?![0-9A-Za-z])")


def _spellings(word: str) -> set[str]:
    """A word as plain text, HTML, JSON and addresses have it."""
    return {word, escape(word), json.dumps(word)[1:-1], quote(word)}


def is_telling(name: str) -> bool:
    """Whether a name in running text can hardly be anything else.

    Examples
    --------
    >>> [is_telling(name) for name in ("aster-007", "4711", "b12", "eye")]
    [True, False, False, False]
    """
    return len(name) >= _SHORTEST and not name.isdigit()


def cohort_with(job: Job) -> Cohort:
    """Return the cohort of a job; images may be gone, as those of who left often are.

    Raises
    ------
    InputErrors
        Faults of the table.
    """
    cohort, faults = read_cohort(job.cohort_path, job.configuration.classes)
    if faults:
        raise InputErrors(faults)
    return cohort.with_table(cohort.table)


def identity_of(job: Job, cohort: Cohort, patient: str) -> Identity:
    """Gather what a patient is known by, from the cohort and from what was made of earlier ones."""
    tables = [cohort.table, *_earlier_tables(job)]
    images: set[str] = set()
    slides: set[str] = set()
    digests: set[str] = set()
    for table in tables:
        if {"patient", "slide"} <= set(table.columns):
            rows = table[table["patient"] == patient]
            slides |= set(rows["slide"])
            images |= set(rows["image"]) if "image" in rows else set()
    for table in tables:
        if "slide" in table.columns:
            rows = table[table["slide"].isin(slides)]
            for name in _DIGESTS:
                digests |= set(rows[name]) if name in rows else set()
    return Identity(patient, *(frozenset(x - {""}) for x in (images, slides, digests)))


def _earlier_tables(job: Job) -> Iterable[pd.DataFrame]:
    for stage in job.modality.stages:
        for file in stage_tables(job, stage.table):
            yield pd.read_csv(file, dtype=str, keep_default_na=False)
    for record in sorted((job.output / "runs").rglob(RECORD)):
        for name in ("splits.parquet", "predictions.parquet"):
            file = record.parent / name
            try:
                if file.is_file():
                    yield pd.read_parquet(file, columns=["image", "slide", "patient"]).astype(str)
            except (OSError, ValueError, pa.ArrowException):  # damaged: it is made again
                continue


def stage_tables(job: Job, table: str) -> list[Path]:
    """Return the table of a stage and those of its parts, as far as they are there."""
    whole = job.output / table
    parts = sorted(whole.parent.glob(f"{whole.stem}.part-*-of-*{whole.suffix}"))
    return [file for file in (whole, *parts) if file.is_file()]


def unknown_patient(job: Job) -> InputError:
    """Make the error for a patient that nothing here holds."""
    return InputError(
        "nothing in this job holds a patient of this name",
        file=job.file,
        remedy="Give the name as column 'patient' of the cohort has it; results elsewhere are"
        " looked through with --also",
        code="no_such_patient",
    )
