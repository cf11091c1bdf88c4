"""Photographs of the retina: from the file over the field of view and the network to a grade."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offsite.errors import InputError
from offsite.files import write_bytes
from offsite.preprocessing.fundus.acquisition import acquisition_of
from offsite.preprocessing.fundus.cohort import VERSION
from offsite.preprocessing.fundus.field_of_view import FieldOfView
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import Photograph, read_photograph
from offsite.preprocessing.views import png, shrunk
from offsite.retina.evidence_map import evidence_maps
from offsite.retina.inference import fundus_model, grade_with_maps
from offsite.retina.prediction.evidence_overlay import evidence_overlay
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import (
    ModelAnswer,
    ModelPackage,
    Prepared,
    Quality,
    Rejected,
)
from offsite.training.prediction.items import Item

# Larger batches leave a processor's cache, and take half as long again for each picture.
PROCESSOR_BATCH, DEVICE_BATCH = 4, 32
OVERLAY = "overlay.png"
_UNREAD = {
    "missing_file": Code.NOT_FOUND,
    "unreadable_image": Code.UNREADABLE,
    "not_an_image": Code.NOT_AN_IMAGE,
    "wrong_kind": Code.WRONG_KIND,
    "unsupported": Code.UNSUPPORTED,
    "too_large": Code.TOO_LARGE,
    "too_small": Code.UNGRADABLE,
}
_REJECTED = {
    "no_field_of_view": (Code.UNGRADABLE, "no retina is found in the picture"),
    "several_fields": (Code.SEVERAL_FIELDS, ""),
    "resolution_too_low": (Code.RESOLUTION_TOO_LOW, ""),
}


@dataclass(frozen=True)
class _Ready:
    """A prepared picture, and where it lies in what was read and in its view (height, width)."""

    pixels: np.ndarray
    field: FieldOfView
    read: tuple[int, int]
    view: tuple[int, int]

    def saver(self, evidence: np.ndarray) -> Callable[[Path], dict[str, str]]:
        """Return what writes the overlay into the folder of the case; it holds no picture."""
        view, read, field = self.view, self.read, self.field

        def save(folder: Path) -> dict[str, str]:
            overlay = evidence_overlay(view, read, field, evidence)
            write_bytes(folder / OVERLAY, png(overlay))
            return {"overlay": OVERLAY}

        return save


class PhotographPredictor:
    """The photograph model of a package.

    The whole way is that of training: the same preparation, and `offsite.retina.inference`.

    Parameters
    ----------
    package : ModelPackage
        A verified package with ``preprocessing`` ``fundus``.
    device : str
        A torch device.
    batch_size : int, optional
        Photographs at a time on the device.
    """

    def __init__(self, package: ModelPackage, device: str, batch_size: int | None = None) -> None:
        self.concurrent = device == "cpu"
        self.batch_size = batch_size or (PROCESSOR_BATCH if self.concurrent else DEVICE_BATCH)
        record = package.record
        self._settings = FundusSettings.model_validate(record.preprocessing["fundus"])
        architecture = record.architecture.settings
        network = fundus_model(package.weights, architecture, file=package.path)
        self._network = network.to(device)
        self._positive = [record.classes.index(name) for name in record.decision.positive]

    def prepare(self, item: Item) -> Prepared:
        """Read one photograph, find the retina in it, and judge whether it can be graded."""
        photograph = _read(item.path, self._settings.px)
        pixels = photograph.pixels
        view = shrunk(pixels)
        try:
            prepared = prepare_photograph(pixels, self._settings)
        except InputError as error:
            code, text = _REJECTED[error.code]
            raise Rejected(code, text or error.problem, view) from error
        quality = prepared.quality
        return Prepared(
            payload=_Ready(prepared.pixels, prepared.field, pixels.shape[:2], view.shape[:2]),
            view=view,
            quality=Quality(
                gradable=quality.gradable,
                score=quality.score,
                reasons=tuple(reason.replace("_", " ") for reason in quality.reasons),
            ),
            facts={
                "width": photograph.width,
                "height": photograph.height,
                **acquisition_of(item.path),
                "field_of_view": prepared.field.method,
                "warnings": list(prepared.warnings),
            },
        )

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Grade a batch of prepared pictures."""
        graded = grade_with_maps(self._network, np.stack([one.payload.pixels for one in batch]))
        assert graded.maps is not None
        evidence = evidence_maps(
            self._network.classifier, graded.embeddings, graded.maps, self._positive
        )
        trunk = [None] * len(batch) if graded.trunk is None else graded.trunk
        return [
            ModelAnswer(
                logits=logits, embedding=embedding, trunk=seen, save=one.payload.saver(shown)
            )
            for one, logits, embedding, seen, shown in zip(
                batch, graded.logits, graded.embeddings, trunk, evidence, strict=True
            )
        ]

    def shrink(self) -> bool:
        """Nothing is left to give: the engine halves the batch itself."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on beside the package."""
        return {"preparation": VERSION}


def _read(path: Path, px: int) -> Photograph:
    """Read an input as in training; what cannot be read is refused in the same words."""
    try:
        return read_photograph(path, px)
    except InputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno:  # the disk's fault may be none of the file's
            raise cause from error
        raise Rejected(_UNREAD.get(error.code, Code.UNREADABLE), error.problem) from error
