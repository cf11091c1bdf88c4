"""Whether a slide changed: some formats spread over several files."""

import glob
import os
from pathlib import Path

from offsite.errors import InputError
from offsite.files import digest_of, fingerprint, is_file


def slide_fingerprint(path: str | Path) -> str:
    """A digest (hex) of the slide's content; "" if the file cannot be read."""
    file = Path(path)
    try:
        parts = [fingerprint(file)]
        for companion in companions(file):
            parts += [companion.name, fingerprint(companion)]
    except OSError:
        return ""
    return parts[0] if len(parts) == 1 else digest_of(parts)


def changed_while_read(path: str | Path) -> InputError:
    """Return the refusal of a slide of which not all was read in the same state."""
    return InputError(
        "the slide changed while it was read",
        file=path,
        remedy="Wait until it is copied, and run again",
        code="changed_while_read",
    )


def companions(file: Path) -> list[Path]:
    """Return the further files of a slide, sorted.

    MRXS keeps its pixels in a folder of the same name, DICOM in the files beside it, VMS and VMU in
    files beside it whose names begin as its own.
    """
    if file.suffix.lower() == ".mrxs":
        return sorted(item for item in file.with_suffix("").glob("*") if is_file(item))
    if file.suffix.lower() == ".dcm":
        return sorted(item for item in file.parent.glob("*.dcm") if item != file)
    if file.suffix.lower() in (".vms", ".vmu"):
        beside = file.parent.glob(f"{glob.escape(file.stem)}*")
        return sorted(item for item in beside if is_file(item) and item != file)
    return []


def slide_data(path: Path) -> Path | None:
    """Return the folder that holds the pixels of a MIRAX slide, or None for other files."""
    if path.suffix.lower() != ".mrxs":
        return None
    folder = path.with_suffix("")
    return folder if os.path.isdir(folder) else None  # noqa: PTH112 (one that may not be seen)


def slide_parts(path: Path) -> tuple[Path, ...]:
    """Return the further files of a slide; of DICOM, `dicom_series` tells which belong together."""
    return () if path.suffix.lower() == ".dcm" else tuple(companions(path))
