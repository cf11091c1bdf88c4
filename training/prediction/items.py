"""One input of a run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from offsite.training.prediction.codes import Code
from offsite.training.prediction.naming import case_name, shown


class Sibling(NamedTuple):
    """Another image of the patient: its file, um per px from a table, and further files of it."""

    path: Path
    mpp: float | None = None
    parts: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Item:
    """One input.

    Attributes
    ----------
    number : int
        Its number in the run, from 1; logs name it by this and never by its file.
    path : Path
    name : str
        The path as it is shown: always printable, always UTF-8.
    case : str
        Name of its folder in the output; letters, digits, dot, hyphen and underscore only.
    patient, site, eye : str
        From a cohort table, else blank (site: from the command line).
    mpp : float or None
        um per px from a cohort table.
    scanner, date : str
        From a table, for an image that does not say them itself; else blank.
    parts : tuple of Path
        Further files of the same image (a DICOM series, the data of a MIRAX slide).
    siblings : tuple of Sibling
        Other images of the patient that the answer rests on too (models of patients).
    fault : (Code, str) or None
        What is known against it already.
    """

    number: int = 0
    path: Path
    name: str
    case: str
    patient: str = ""
    site: str = ""
    eye: str = ""
    mpp: float | None = None
    scanner: str = ""
    date: str = ""
    parts: tuple[Path, ...] = ()
    siblings: tuple[Sibling, ...] = ()
    fault: tuple[Code, str] | None = None


def item_of(path: Path, **facts: object) -> Item:
    """Return the input for one path."""
    return replace(Item(path=path, name=shown(path), case=case_name(path)), **facts)  # type: ignore[arg-type]
