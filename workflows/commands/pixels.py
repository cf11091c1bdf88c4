"""The pixels of a cohort's pictures, in any format that photographs have."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def pixels_of(path: Path) -> "np.ndarray | None":
    """Return the pixels (uint8, H x W x 3, RGB), or None where there is no picture; runs in a child."""
    from offsite.errors import InputError
    from offsite.preprocessing.cohort.audit import decoded
    from offsite.preprocessing.formats.kinds import kind_of
    from offsite.preprocessing.fundus.dicom import dicom_pixels

    if kind_of(path) != "dicom":
        return decoded(path)
    try:
        return dicom_pixels(path)
    except InputError:
        return None
