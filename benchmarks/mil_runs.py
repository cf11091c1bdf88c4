"""Train the methods on bags in memory, as `offsite.pathology.training` does on slides."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from offsite.pathology.bags import BagLoader, BagTable
from offsite.pathology.features.store import FeatureStore
from offsite.pathology.inference import BagPrediction, describe, load_slide_model, predict_all
from offsite.pathology.inputs import Inputs, fit_inputs
from offsite.pathology.method_plan import TrainingItems, batch_plan, with_method
from offsite.pathology.methods import method_named
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.training import network
from offsite.pathology.validation import validation_scores
from offsite.training.fit.loop import fit
from offsite.training.fit.settings import FitSettings
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.samplers.plans import PlannedSource
from offsite.training.samplers.settings import SamplerSettings

COLON_RATES = {
    "sc_mil": 5e-4, "logit_adjustment_views": 5e-4, "cross_entropy": 1e-3, "balanced_sampling": 2.5e-4,
    "ldam_drw": 1e-3, "logit_adjustment": 5e-4,
}  # fmt: skip
"""The default, itself without contrast, and rivals: rates that were settled on bags of colon tiles."""
NARROW_RATES = COLON_RATES | {
    "cross_entropy": 0.002, "logit_adjustment": 0.0005, "ldam_drw": 0.001, "balanced_sampling": 0.00025,
}  # fmt: skip
"""Those where fewer than 256 numbers are read, as they are: settled by `evidence_widths.py --stage rates`, which
checks them. The default keeps its own."""
_PLAIN = GeneralisationSettings.model_validate({})
_FITTED: dict[tuple, Inputs] = {}  # of the call before


@dataclass(frozen=True)
class BagSet:
    """Bags of instances (n x D each) with labels.

    ``truth`` marks the positive instances; ``sites`` numbers the bags' sites, without them there is one.
    """

    bags: Sequence[np.ndarray]
    labels: np.ndarray
    truth: Sequence[np.ndarray] | None = None
    sites: np.ndarray | None = None

    @classmethod
    def of_sites(cls, parts: Sequence["BagSet"]) -> "BagSet":
        """Return the bags of several sites, numbered in their order."""
        return cls(
            [bag for part in parts for bag in part.bags],
            np.concatenate([part.labels for part in parts]),
            sites=np.repeat(np.arange(len(parts)), [len(part.labels) for part in parts]),
        )

    def take(self, which: np.ndarray) -> "BagSet":
        """Return some of the bags."""
        truth = None if self.truth is None else [self.truth[i] for i in which]
        sites = None if self.sites is None else self.sites[which]
        return BagSet([self.bags[i] for i in which], self.labels[which], truth, sites)

    def items(self) -> TrainingItems:
        """Return what batches are drawn by; a bag is a patient here."""
        if self.sites is None:
            return TrainingItems.alone(self.labels)
        return TrainingItems(self.labels, self.sites, np.arange(len(self.labels)))

    def loader(self, **options: int) -> BagLoader:
        """Return a loader over the bags, each a slide of a resident store."""
        sizes = [len(bag) for bag in self.bags]
        store = FeatureStore(
            slides=tuple(str(number) for number in range(len(sizes))),
            features=np.concatenate(self.bags).astype(np.float32),
            coords=np.zeros((sum(sizes), 2), np.int64),
            offsets=np.concatenate([[0], np.cumsum(sizes)]),
            digest="",
            encoder="",
            encoder_digest="",
        )
        slides = tuple((number,) for number in range(len(sizes)))
        table = BagTable(store.slides, slides, self.labels, self.sites)
        return BagLoader(store, table, **options)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the same for every method of a comparison."""

    model: ScMilSettings
    epochs: int = 40
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    batch_size: int = 16
    instances: int = 64
    views: int = 2
    epoch_steps: int = 6
    sampler: SamplerSettings | None = None
    general: GeneralisationSettings = _PLAIN


def train(
    method: str,
    recipe: Recipe,
    training: BagSet,
    validation: BagSet | None,
    n_classes: int,
    seed: int,
) -> ScMil:
    """Train a method; return the model of the selected epoch, or of the last without validation.

    Where the validation bags are too few to compare epochs by, they are not predicted: the last epoch
    is kept whatever they say, and training is a sixth sooner done.
    """
    if validation is not None:
        each = np.bincount(validation.labels, minlength=n_classes)
        validation = validation if each.min() >= FitSettings().fewest_validated else None
    chosen, items = method_named(method), training.items()
    settings = with_method(chosen, recipe.model, recipe.epochs, recipe.general)
    views = recipe.views if chosen.contrast or chosen.views else 1
    loader = training.loader(instances=max(recipe.instances // views, 1), views=views, seed=seed)
    plan = batch_plan(
        chosen,
        items,
        recipe.batch_size,
        recipe.epochs,
        seed,
        recipe.epoch_steps,
        recipe.sampler,
    )
    torch.manual_seed(seed)
    inputs = _inputs(loader, settings)
    n_sites = len(np.unique(items.sites))
    model = network(loader.store.dimensions, training.labels, settings, n_classes, inputs, n_sites)
    held = None if validation is None else validation.loader()

    def validate(algorithm: ScMil, epoch: int) -> dict[str, float | None]:
        assert held is not None
        assert validation is not None
        logits = np.stack([found.logits for found in predict_all(algorithm, held)])
        return validation_scores(logits, validation.labels, n_classes)

    # A bag is a patient here.
    counts = {} if validation is None else {
        str(c): int((validation.labels == c).sum()) for c in range(n_classes)
    }  # fmt: skip
    fit_settings = FitSettings(
        epochs=recipe.epochs, learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay, seed=seed, device="cpu", prefetch=0,
        checkpoint_every_seconds=3600,
        select_after=settings.selects_from(),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        source = PlannedSource(plan, loader.training_batch)
        result = fit(
            model, source, fit_settings, folder, validate if held else None,  # type: ignore[arg-type]
            validated=None if validation is None else counts,
        )  # fmt: skip
        return load_slide_model(result.weights, describe(model))


def _inputs(loader: BagLoader, settings: ScMilSettings) -> Inputs:
    """Fit the inputs to training bags (a bag is a patient), or give again those of the call before.

    They depend on no method, and of many numbers a tile they cost as much as the training.
    """
    store, table = loader.store, loader.table
    read = hashlib.blake2b(np.ascontiguousarray(store.features).data)
    read.update(store.offsets.tobytes() + table.labels.tobytes())
    asked = (read.hexdigest(), settings.inputs, settings.directions, settings.whitening_power)
    if asked not in _FITTED:
        found = fit_inputs(store, table, table.names, settings)
        _FITTED.clear()
        _FITTED[asked] = found
    return _FITTED[asked]


def predict(model: ScMil, bags: BagSet) -> list[BagPrediction]:
    """Predict bags with all their instances."""
    return list(predict_all(model, bags.loader()))


def probabilities(predictions: Sequence[BagPrediction]) -> np.ndarray:
    """Return probabilities, bags x classes."""
    return np.stack([found.probabilities for found in predictions])


def thinned(labels: np.ndarray, ratio: int, seed: int) -> np.ndarray:
    """Return the bags kept when each class but the first is thinned to 1 / ``ratio`` of it.

    The subsets are nested: those of a higher ratio are contained in those of a lower one.
    """
    rng = np.random.default_rng([seed, 17])
    first = np.flatnonzero(labels == 0)
    kept = [first]
    for c in range(1, labels.max() + 1):
        members = rng.permutation(np.flatnonzero(labels == c))
        kept.append(members[: max(round(len(first) / ratio), 2)])
    return np.sort(np.concatenate(kept))
