"""Why a file is no photograph that can be read: the same words in training and in prediction."""

from pathlib import Path

from offsite.errors import InputError, fault_of_system
from offsite.preprocessing.formats.photographs import PHOTOGRAPH_SUFFIXES, READ

MAX_PIXELS = 100_000_000
MAX_BYTES = 512 << 20
_MIN_SIDE = 16
A_SLIDE = "a slide, not a photograph"


def check_size(file: Path, width: int, height: int) -> None:
    """Refuse what would fill the memory, and what is too small to show anything."""
    if width * height > MAX_PIXELS:
        raise too_large(file, f"{width} x {height} px is more than {MAX_PIXELS // 10**6} million")
    if min(width, height) < _MIN_SIDE:
        raise InputError(
            f"{width} x {height} px is too small to show a retina",
            file=file,
            remedy="Give the photograph and not its thumbnail",
            code="too_small",
        )


def too_large(file: Path, problem: str) -> InputError:
    """Return the refusal of a file with too many bytes or pixels."""
    return InputError(problem, file=file, remedy="Export it smaller", code="too_large")


def damaged(file: Path, problem: str) -> InputError:
    """Return the refusal of a file that cannot be read to its end."""
    return InputError(
        problem,
        file=file,
        code="unreadable_image",
        remedy="Export the photograph again as JPEG, PNG or TIFF",
    )


def of_the_system(file: Path, error: OSError) -> InputError:
    """Return the refusal of a file that the system does not give: a right or a disk is at fault."""
    fault = fault_of_system(error)
    if fault is None:
        return damaged(file, "not a plain file")
    return InputError(fault.problem, file=file, remedy=fault.remedy, code=fault.code)


def unsupported(file: Path, problem: str) -> InputError:
    """Return the refusal of a photograph in a form that is not read."""
    return InputError(
        problem,
        file=file,
        code="unsupported",
        remedy="Export the photograph as JPEG, PNG or TIFF, one picture in a file",
    )


def wrong_kind(file: Path, problem: str) -> InputError:
    """Return the refusal of an image of another kind."""
    return InputError(
        problem, file=file, code="wrong_kind", remedy="Name the photograph in its place"
    )


def not_an_image(file: Path) -> InputError:
    """Return the refusal of a file that is of no format of the list."""
    named_so = file.suffix.lower() in PHOTOGRAPH_SUFFIXES
    return InputError(
        "not an image, in spite of its name" if named_so else "the file is not an image",
        file=file,
        code="not_an_image",
        remedy=f"Photographs are read from {READ}",
    )
