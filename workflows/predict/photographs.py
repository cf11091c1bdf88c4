"""Photographs of the retina: from the file over the field of view and the network to a grade."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from preprocessing.errors import InputError
from preprocessing.fundus.cohort import VERSION
from preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from retina.inference import grade, load_fundus_model
from workflows.package.folder import WEIGHTS, Package
from workflows.predict.codes import Code
from workflows.predict.inputs import Item
from workflows.predict.photograph_files import pixels_of
from workflows.predict.pictures import shrunk
from workflows.predict.predictor import Finding, Prepared, Quality, Rejected

# Larger batches leave a processor's cache, and take half as long again for each picture.
PROCESSOR_BATCH, DEVICE_BATCH = 4, 32


class PhotographPredictor:
    """The photograph model of a package.

    The whole way is that of training: the same preparation, and `retina.inference`.

    Parameters
    ----------
    package : Package
        A verified package with ``preprocessing`` ``fundus``.
    device : str
        A torch device.
    batch_size : int, optional
        Photographs at a time on the device.
    """

    def __init__(self, package: Package, device: str, batch_size: int | None = None) -> None:
        self.concurrent = device == "cpu"
        self.batch_size = batch_size or (PROCESSOR_BATCH if self.concurrent else DEVICE_BATCH)
        self._settings = FundusSettings.model_validate(package.record.preprocessing["fundus"])
        architecture = package.record.architecture.settings
        self._network = load_fundus_model(package.path / WEIGHTS, architecture).to(device)

    def prepare(self, item: Item) -> Prepared:
        """Read one photograph, find the retina in it, and judge whether it can be graded."""
        pixels = pixels_of(item)
        view = shrunk(pixels)
        try:
            prepared = prepare_photograph(pixels, self._settings)
        except InputError as error:
            if error.code == "no_field_of_view":
                raise Rejected(
                    Code.UNGRADABLE, "no retina is found in the picture", view
                ) from error
            raise
        quality = prepared.quality
        return Prepared(
            payload=prepared.pixels,
            view=view,
            quality=Quality(
                gradable=quality.gradable,
                score=quality.score,
                reasons=tuple(reason.replace("_", " ") for reason in quality.reasons),
            ),
            facts={
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "field_of_view": prepared.field.method,
                "warnings": list(prepared.warnings),
            },
        )

    def infer(self, batch: Sequence[Prepared]) -> list[Finding]:
        """Grade a batch of prepared pictures."""
        pictures = np.stack([prepared.payload for prepared in batch])
        graded = grade(self._network, lambda rows: pictures[rows], len(pictures), self.batch_size)
        return [
            Finding(logits=logits, embedding=embedding)
            for logits, embedding in zip(graded.logits, graded.embeddings, strict=True)
        ]

    def shrink(self) -> bool:
        """Nothing is left to give: the engine halves the batch itself."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on beside the package."""
        return {"preparation": VERSION}
