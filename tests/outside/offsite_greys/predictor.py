"""From a grey picture to an answer, by the way of training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from offsite.children.pool import HERE, Place
from offsite.errors import InputError
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import ModelAnswer, ModelPackage, Prepared, Rejected
from offsite.training.prediction.items import Item
from offsite_greys.network import Network
from offsite_greys.pictures import read_picture


class GreyPredictor:
    """The model of a package; see `offsite.training.prediction.contract.Predictor`."""

    concurrent = True

    def __init__(self, package: ModelPackage, device: str, batch_size: int | None = None) -> None:
        self.batch_size = batch_size or 16
        self._side = int(package.record.preprocessing["side"])
        self._place: Place = HERE
        self._network = Network(package.weights, package.record.architecture.settings)

    def open_at(self, place: Place) -> None:
        """Open pictures there from now on: what a file ends is a child, and not the run."""
        self._place = place

    def prepare(self, item: Item) -> Prepared:
        """Read one picture."""
        try:
            pixels = self._place.call(read_picture, item.path, self._side)
        except InputError as error:
            code = Code.UNGRADABLE if error.code == "too_small" else Code.UNREADABLE
            raise Rejected(code, error.problem) from error
        view = np.repeat(np.uint8(pixels * 255)[..., None], 3, axis=2)
        return Prepared(payload=pixels, view=view)

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Answer a batch."""
        logits, embedding = self._network.answers(np.stack([one.payload for one in batch]))
        return [
            ModelAnswer(logits=row, embedding=inner)
            for row, inner in zip(logits, embedding, strict=True)
        ]

    def shrink(self) -> bool:
        """Nothing is left to give."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on beside the package."""
        return {"side": self._side}
