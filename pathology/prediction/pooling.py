"""From the features of a slide, and of its patient's others, to an answer: how predictors of slides end."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from offsite.pathology.inference import BagPrediction, predict_bag, slide_model
from offsite.training.prediction.contract import ModelPackage
from offsite.training.prediction.items import Item


class PooledModel:
    """The network of a package, and how it answers for slides or patients."""

    def __init__(self, package: ModelPackage, device: str) -> None:
        settings = package.record.preprocessing
        self.pooling = str(settings.get("pooling", "slide"))
        self._fewest_tiles = int(settings.get("fewest_tiles", 0))
        architecture = package.record.architecture.settings
        self.network = slide_model(package.weights, architecture, file=package.path).to(device)

    def answer(self, this: np.ndarray, others: Sequence[np.ndarray]) -> BagPrediction:
        """Return the answer for a slide (n x D) with its patient's others; attention is this slide's."""
        if self.pooling == "patient_union":
            return self._union(this, others)
        bag = predict_bag(self.network, this)
        return self._late(bag, others) if self.pooling == "patient_late" and others else bag

    def logits(self, slides: Sequence[np.ndarray]) -> np.ndarray:
        """Return the answer (C) to the tiles of a slide, or of a patient's slides."""
        if self.pooling != "patient_late":
            return predict_bag(self.network, np.concatenate(slides)).logits
        return _late_logits([predict_bag(self.network, rows) for rows in slides])

    def notes(self, item: Item, left_out: int, tiles: int) -> tuple[str, ...]:
        """Return what a reader must know of an answer; ``tiles`` is the number of the slide's."""
        return (*self._of_patient(item, left_out), *self._too_little(tiles))

    def _of_patient(self, item: Item, left_out: int) -> tuple[str, ...]:
        """What there is to say of an answer that should rest on all slides of a patient."""
        if self.pooling == "slide":
            return ()
        if not item.patient:
            return ("answered from this slide alone: no table names its patient",)
        if left_out:
            return (f"without {left_out} of the patient's slides, which cannot be used",)
        return ()

    def _too_little(self, tiles: int) -> tuple[str, ...]:
        """Whether there is less tissue than the model ever learned from."""
        fewest = self._fewest_tiles
        if tiles >= fewest:
            return ()
        return (
            f"less tissue ({tiles} tiles) than any slide that the model was trained on ({fewest})",
        )

    def _union(self, this: np.ndarray, others: Sequence[np.ndarray]) -> BagPrediction:
        """All slides as one bag; the attention is that of this slide's tiles."""
        union = predict_bag(self.network, np.concatenate([this, *others]))
        tiles = len(this)
        # In units of the patient's average tile, as the heatmap shows it.
        attention = union.attention[:tiles] * (len(union.attention) / tiles)
        return replace(union, attention=attention)

    def _late(self, this: BagPrediction, others: Sequence[np.ndarray]) -> BagPrediction:
        """The mean probabilities of all slides as logits, the mean embedding, the mean features."""
        bags = [this, *(predict_bag(self.network, other) for other in others)]
        return replace(
            this,
            logits=_late_logits(bags),
            embedding=np.mean([bag.embedding for bag in bags], axis=0),
            mean_features=np.mean([bag.mean_features for bag in bags], axis=0),
        )


def _late_logits(bags: Sequence[BagPrediction]) -> np.ndarray:
    """The mean probabilities of bags, as logits."""
    mean = np.mean([bag.probabilities for bag in bags], axis=0)
    return np.asarray(np.log(np.maximum(mean, np.finfo(np.float32).tiny)))
