"""Photographs of the retina: from the file over the field of view and the network to a grade."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offsite.children.pool import HERE, Place
from offsite.files import write_bytes
from offsite.preprocessing.augment.altered import altered
from offsite.preprocessing.fundus.cohort import VERSION
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.views import png
from offsite.retina.evidence_map import evidence_maps
from offsite.retina.inference import fundus_model, grade_with_maps
from offsite.retina.prediction.evidence_overlay import evidence_overlay
from offsite.retina.prediction.reading import PhotographReader, ReadyPhotograph
from offsite.training.prediction.contract import ModelAnswer, ModelPackage, Prepared
from offsite.training.prediction.items import Item

# Larger batches leave a processor's cache, and take half as long again for each picture.
PROCESSOR_BATCH, DEVICE_BATCH = 4, 32
OVERLAY = "overlay.png"


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
        self._reader = PhotographReader(
            FundusSettings.model_validate(record.preprocessing["fundus"])
        )
        self._place: Place = HERE
        architecture = record.architecture.settings
        network = fundus_model(package.weights, architecture, file=package.path)
        self._network = network.to(device)
        self._positive = [record.classes.index(name) for name in record.decision.positive]

    def open_at(self, place: Place) -> None:
        """Read photographs there from now on."""
        self._place = place

    def prepare(self, item: Item) -> Prepared:
        """Read one photograph, find the retina in it, and judge whether it can be graded."""
        return self._place.call(self._reader, item)

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
                logits=logits, embedding=embedding, trunk=seen, save=_saver(one.payload, shown)
            )
            for one, logits, embedding, seen, shown in zip(
                batch, graded.logits, graded.embeddings, trunk, evidence, strict=True
            )
        ]

    def head_rows(self, batch: Sequence[Prepared], copies: int) -> list[np.ndarray]:
        """Return of each picture what the head reads of it and of its altered copies, K x E."""
        rows = []
        for one in batch:
            pixels = one.payload.pixels
            key = int(hashlib.sha256(pixels.tobytes()).hexdigest()[:15], 16)
            read = np.stack([altered(pixels, copy, key) for copy in range(copies + 1)])
            rows.append(grade_with_maps(self._network, read).embeddings)
        return rows

    def shrink(self) -> bool:
        """Nothing is left to give: the engine halves the batch itself."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on beside the package."""
        return {"preparation": VERSION}


def _saver(ready: ReadyPhotograph, evidence: np.ndarray) -> Callable[[Path], dict[str, str]]:
    """Return what writes the overlay into the folder of the case; it holds no picture."""
    view, read, field = ready.view, ready.read, ready.field

    def save(folder: Path) -> dict[str, str]:
        overlay = evidence_overlay(view, read, field, evidence)
        write_bytes(folder / OVERLAY, png(overlay))
        return {"overlay": OVERLAY}

    return save
