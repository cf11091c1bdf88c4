"""By what a patient is known in a job: its name, its images, and the digests of these."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    others : frozenset of str
        Names of other patients and of their images.
    shared : frozenset of str
        Names of sites and classes. Where the patient is called so too, only a cell in which names of
        patients and images stand tells it.
    """

    patient: str
    images: frozenset[str]
    slides: frozenset[str]
    digests: frozenset[str]
    others: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()

    @cached_property
    def cells(self) -> frozenset[str]:
        """What a cell of a table that holds the patient is."""
        named = {Path(image).name for image in self.images}
        return frozenset({self.patient} | self.images | named | self.slides | self.digests)

    @cached_property
    def certain(self) -> frozenset[str]:
        """Those of `cells` that name nothing but the patient."""
        return self.cells - self.shared

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Those of `certain` that are looked for in running text: no plain number, no short word."""
        return tuple(sorted(cell for cell in self.certain if is_telling(cell)))

    @cached_property
    def _spelt(self) -> frozenset[bytes]:
        return frozenset(each.encode() for word in self.words for each in _spellings(word))

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        """Finds words in bytes, and the names of others that have one within (``P-007-2``)."""
        longer = [name for name in self.others if any(word in name for word in self.words)]
        theirs = {each.encode() for name in longer for each in _spellings(name)}
        spelt = sorted(self._spelt | theirs, key=lambda each: (-len(each), each))
        one_of = b"|".join(map(re.escape, spelt))
        return re.compile(rb"(?<![0-9A-Za-z])(?:" + one_of + rb")(?![0-9A-Za-z])")

    def is_in(self, text: bytes) -> bool:
        """Whether a text has one of `words`, with no letter or digit before or after it.

        Examples
        --------
        >>> patient = Identity(
        ...     "P-007", frozenset(), frozenset(), frozenset(), others=frozenset({"P-007-2"})
        ... )
        >>> [patient.is_in(text) for text in (b"P-007_L.png", b"P-0071_L.png", b"P-007-2_L.png")]
        [True, False, False]
        """
        # Most texts have none, and are told so far faster than by the pattern.
        if not any(word in text for word in self._spelt):
            return False
        return any(match.group() in self._spelt for match in self._pattern.finditer(text))


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

    The index of its table is the row in the file, as a spreadsheet counts.

    Raises
    ------
    InputErrors
        Faults of the table.
    """
    cohort, faults = read_cohort(
        job.cohort_path,
        job.configuration.classes,
        images_named=job.configuration.reads_images(),
    )
    if faults:
        raise InputErrors(faults)
    return cohort


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
    # What was of this patient once, and is of another now, is the other's.
    rest = cohort.table[cohort.table["patient"] != patient]
    slides -= set(rest["slide"]) - set(cohort.table["slide"][cohort.table["patient"] == patient])
    images -= set(rest["image"])
    for table in tables:
        if "slide" in table.columns:
            rows = table[table["slide"].isin(slides)]
            for name in _DIGESTS:
                digests |= set(rows[name]) if name in rows else set()
    known = Identity(patient, *(frozenset(x - {""}) for x in (images, slides, digests)))
    theirs = {*rest["patient"], *rest["slide"], *rest["image"]}
    theirs |= {Path(image).name for image in rest["image"]}
    return replace(
        known,
        others=frozenset(theirs) - known.cells,
        shared=frozenset({*cohort.sites, *cohort.classes}),
    )


def _earlier_tables(job: Job) -> Iterable[pd.DataFrame]:
    for stage in job.stages:
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
