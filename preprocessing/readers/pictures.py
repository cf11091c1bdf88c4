"""The pictures of a cohort, whatever kind of image it holds: what its checks look at."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from offsite.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from offsite.children.pool import Place


def are_slides(
    paths: Sequence[Path], place: "Place", scales: "Sequence[float] | np.ndarray" = ()
) -> bool:
    """Whether the images are slides, which are compared by their bytes alone.

    Parameters
    ----------
    scales : sequence of float
        The column ``mpp`` of the table: um per px, NaN where it gives none.
    """
    from offsite.children.ended import ChildEnded
    from offsite.preprocessing.slides import opening

    try:
        return place.call(opening.are_slides, paths, given_scales(scales))
    except ChildEnded:  # a slide that crashes its reader is one
        return True


def given_scales(column: "Sequence[float] | np.ndarray") -> list[float | None]:
    """Return the um per px that a table gives of each image, None where it gives none.

    Examples
    --------
    >>> given_scales([0.5, float("nan")])
    [0.5, None]
    """
    return [None if math.isnan(mpp) else float(mpp) for mpp in column]


def fault_of_slide(path: Path, mpp: float | None) -> str:
    """Open a slide and say in a sentence why it cannot be tiled, or ""; runs in a child.

    Parameters
    ----------
    mpp : float or None
        um per px that the table gives, instead of what the file says.
    """
    from offsite.preprocessing.slides.opening import open_slide

    try:
        open_slide(path, mpp=mpp).close()
    except InputError as error:
        return f"{error.problem}. {error.remedy}"
    return ""


def pixels_of(path: Path) -> "np.ndarray | None":
    """Return the pixels of a photograph in any format that photographs have; runs in a child.

    Returns
    -------
    numpy.ndarray or None
        uint8, H x W x 3, RGB; None where there is no picture.
    """
    from offsite.preprocessing.cohort.audit import decoded
    from offsite.preprocessing.formats.kinds import kind_of
    from offsite.preprocessing.fundus.dicom import dicom_pixels

    if kind_of(path) != "dicom":
        return decoded(path)
    try:
        return dicom_pixels(path)
    except InputError:
        return None


def nuisances_of(path: Path, mpp: float | None, *, slides: bool) -> "np.ndarray | None":
    """Return what an image shows of its camera and storage; None where it cannot be read.

    Of a slide they are those of its overview, at most 1,024 px; ``mpp`` is what the table gives of
    it. Runs in a child.
    """
    from offsite.preprocessing.cohort.nuisances import nuisances
    from offsite.preprocessing.slides.overview import slide_view

    try:
        pixels = slide_view(path, mpp) if slides else pixels_of(path)
    except InputError:
        return None
    return None if pixels is None else nuisances(pixels, path)
