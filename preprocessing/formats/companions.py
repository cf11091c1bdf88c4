"""Images that spread over several files, and which files these are."""

import glob
import os
from pathlib import Path

from offsite.files import is_file
from offsite.preprocessing.formats.dicom_series import files_of_series


def companions(file: Path) -> list[Path]:
    """Return the further files of an image, sorted.

    MRXS keeps its pixels in a folder of the same name, DICOM in the files beside it that are of its
    series, VMS and VMU in files beside it whose names begin as its own.
    """
    if file.suffix.lower() == ".mrxs":
        return sorted(item for item in file.with_suffix("").glob("*") if is_file(item))
    if file.suffix.lower() == ".dcm":
        return files_of_series(file)
    if file.suffix.lower() in (".vms", ".vmu"):
        beside = file.parent.glob(f"{glob.escape(file.stem)}*")
        return sorted(item for item in beside if is_file(item) and item != file)
    return []


def companion_folder(path: Path) -> Path | None:
    """Return the folder that holds the pixels of a MIRAX slide, or None for other files."""
    if path.suffix.lower() != ".mrxs":
        return None
    folder = path.with_suffix("")
    return folder if os.path.isdir(folder) else None  # noqa: PTH112 (one that may not be seen)


def companion_files(path: Path) -> tuple[Path, ...]:
    """Return the further files of an image; of DICOM, `dicom_series` tells which belong together."""
    return () if path.suffix.lower() == ".dcm" else tuple(companions(path))
