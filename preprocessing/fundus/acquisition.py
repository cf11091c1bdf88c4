"""What a photograph's file says of how it was taken: day, camera, compression."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from offsite.preprocessing.days import day_of
from offsite.preprocessing.formats.kinds import is_deflated, kind_of, kind_of_bytes

_EXIF, _TAKEN, _CHANGED, _MAKE, _MODEL = 0x8769, 0x9003, 0x0132, 0x010F, 0x0110
_TAGS = ("AcquisitionDate", "ContentDate", "StudyDate", "Manufacturer", "ManufacturerModelName")


def acquisition_of(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Return ``acquired`` (day, ISO 8601), ``scanner`` and ``compression`` of a photograph.

    ``content`` is what the file holds, where it was read already.

    What a file does not say is "". From DICOM and EXIF no more is read than these.
    """
    kind = kind_of(path) if content is None else kind_of_bytes(content)
    acquired = scanner = ""
    with suppress(Exception):  # what cannot be read of a header stands against no answer
        acquired, scanner = _of_dicom(path) if kind == "dicom" else _of_exif(path, content)
    return {"acquired": acquired, "scanner": scanner, "compression": kind}


def _of_exif(path: Path, content: bytes | None) -> tuple[str, str]:
    from PIL import Image

    with Image.open(path if content is None else BytesIO(content)) as image:
        tags = image.getexif()
        taken = tags.get_ifd(_EXIF).get(_TAKEN) or tags.get(_CHANGED)
    return day_of(taken), _name(tags.get(_MAKE), tags.get(_MODEL))


def _of_dicom(path: Path) -> tuple[str, str]:
    from pydicom import dcmread

    if is_deflated(path):
        return "", ""
    header = dcmread(path, specific_tags=list(_TAGS), stop_before_pixels=True)
    dates = (day_of(header.get(name)) for name in _TAGS[:3])
    return next(filter(None, dates), ""), _name(*(header.get(name) for name in _TAGS[3:]))


def _name(*parts: object) -> str:
    text = " ".join(str(part).strip() for part in parts if part)
    return "".join(letter for letter in text if letter.isprintable())[:80]
