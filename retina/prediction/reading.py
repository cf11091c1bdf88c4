"""Photographs read for prediction, in a process that needs no network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offsite.errors import InputError
from offsite.preprocessing.fundus.acquisition import acquisition_of
from offsite.preprocessing.fundus.field_of_view import FieldOfView
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import Photograph, photograph_bytes, photograph_of
from offsite.preprocessing.views import pictures_of, shrunk
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import Prepared, Quality, Rejected
from offsite.training.prediction.items import Item

_UNREAD = {
    "missing_file": Code.NOT_FOUND,
    "unreadable_image": Code.UNREADABLE,
    "not_an_image": Code.NOT_AN_IMAGE,
    "wrong_kind": Code.WRONG_KIND,
    "unsupported": Code.UNSUPPORTED,
    "too_large": Code.TOO_LARGE,
    "too_small": Code.UNGRADABLE,
    "permission_denied": Code.PERMISSION_DENIED,
    "read_failed": Code.READ_FAILED,
}
_REJECTED = {
    "no_field_of_view": (Code.UNGRADABLE, "no retina is found in the picture"),
    "several_fields": (Code.SEVERAL_FIELDS, ""),
    "resolution_too_low": (Code.RESOLUTION_TOO_LOW, ""),
}


@dataclass(frozen=True)
class ReadyPhotograph:
    """A prepared picture, and where it lies in what was read and in its view (height, width)."""

    pixels: np.ndarray
    field: FieldOfView
    read: tuple[int, int]
    view: tuple[int, int]


@dataclass(frozen=True)
class PhotographReader:
    """Reads one photograph, finds the retina in it, and judges whether it can be graded.

    Parameters
    ----------
    settings : FundusSettings
        Those of training.
    """

    settings: FundusSettings

    def __call__(self, item: Item) -> Prepared:
        """Return the prepared photograph, with the digest of the bytes that were decoded.

        Raises
        ------
        Rejected
            Why it cannot be answered.
        """
        photograph, facts = _read(item.path, self.settings.px)
        pixels = photograph.pixels
        view = shrunk(pixels)
        try:
            prepared = prepare_photograph(pixels, self.settings)
        except InputError as error:
            code, text = _REJECTED[error.code]
            raise Rejected(code, text or error.problem, view) from error
        quality = prepared.quality
        return Prepared(
            payload=ReadyPhotograph(
                prepared.pixels, prepared.field, pixels.shape[:2], view.shape[:2]
            ),
            pictures=pictures_of(view),
            content=photograph.sha256,
            quality=Quality(
                gradable=quality.gradable,
                score=quality.score,
                reasons=tuple(reason.replace("_", " ") for reason in quality.reasons),
            ),
            facts={
                "width": photograph.width,
                "height": photograph.height,
                **facts,
                "field_of_view": prepared.field.method,
                "warnings": list(prepared.warnings),
            },
        )


def _read(path: Path, px: int) -> tuple[Photograph, dict[str, str]]:
    """Read an input as in training; what cannot be read is refused in the same words."""
    try:
        content = photograph_bytes(path)
        return photograph_of(path, content, px), acquisition_of(path, content)
    except InputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno:  # the disk's fault may be none of the file's
            raise cause from error
        raise Rejected(_UNREAD.get(error.code, Code.UNREADABLE), error.problem) from error
