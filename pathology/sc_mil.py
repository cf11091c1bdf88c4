"""SC-MIL: bags learn by supervised contrast first, then hand over to the classifier.

Juyal et al., "SC-MIL: Supervised Contrastive Multiple Instance Learning for Imbalanced
Classification in Pathology", WACV 2024, arXiv 2303.13405. The loss at progress t is
beta(t) * contrast(g(b)) + (1 - beta(t)) * cross-entropy(W b) on bag embeddings b, with beta falling
from 1; by default it is steady. The shape of beta, the width of g and the mean over valid anchors are our construction, and so
is that W learns at its full rate from the first step: what beta weighs is what reaches b.
"""

import numpy as np
import torch
from torch import Tensor, nn

from offsite.pathology.bag_mixing import mixed_bags
from offsite.pathology.bags import Bags
from offsite.pathology.inputs import Inputs
from offsite.pathology.settings import ScMilSettings, StagedSettings
from offsite.pathology.site_jitter import site_jittered
from offsite.training.aggregators.contract import Pooled
from offsite.training.aggregators.registry import build_aggregator
from offsite.training.algorithm import Algorithm, Output
from offsite.training.devices.distributed import gather
from offsite.training.diagnostics import contrast_diagnostics, neural_collapse
from offsite.training.generalisation.making import make_objective
from offsite.training.generalisation.mixup import (
    Pairs,
    check_decoupled,
    draw_pairs,
    mixed_losses,
    mixes,
)
from offsite.training.generalisation.objectives import SiteObjective, SiteParts, site_losses
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.contrastive import (
    ContrastiveLoss,
    lowest_contrastive,
    simplex_prototypes,
    supervised_contrastive,
)
from offsite.training.losses.imbalance import CosineClassifier
from offsite.training.losses.memory import MemoryQueue

_TRAINING_ONLY = (
    "projection.", "memory.", "classification.", "objective.", "prototypes", "minority",
)  # fmt: skip


_FIRST_LAYER = "aggregator.instances.0.weight"
_RATE_SETTLED_AT = 256  # numbers that the first layer read when the learning rate was settled
_FEWEST_MEASURED = 24


class ScMil(Algorithm):
    """Multiple-instance learning with supervised contrast between bags.

    Parameters
    ----------
    dimensions : int
        D of the instances.
    n_classes : int
        C.
    settings : ScMilSettings
    class_counts : array, optional
        C, training bags of each class; needed to train, not to predict.
    directions : int, optional
        k: the network reads so many whitened directions of the instances; None = the instances.
    n_sites : int
        Training sites, numbered from 0; needed by what compares them.
    """

    centre: Tensor
    scale: Tensor
    directions: Tensor | None
    prototypes: Tensor | None
    minority: Tensor | None

    def __init__(
        self,
        dimensions: int,
        n_classes: int,
        settings: ScMilSettings,
        class_counts: np.ndarray | None = None,
        directions: int | None = None,
        n_sites: int = 0,
    ) -> None:
        super().__init__()
        self.settings, self.n_classes = settings, n_classes
        self.freeze_from = settings.freeze_from if isinstance(settings, StagedSettings) else None
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(dimensions))
        whitened = None if directions is None else torch.zeros(directions, dimensions)
        self.register_buffer("directions", whitened)
        self.aggregator = build_aggregator(settings.aggregator, directions or dimensions, n_classes)
        width = self.aggregator.dimensions
        self.classifier: nn.Module = nn.Linear(width, n_classes)
        if settings.loss.kind == "ldam_drw":
            self.classifier = CosineClassifier(width, n_classes, settings.loss.cosine_scale)
        # What follows is for training alone and drawn last, so that the methods start from the
        # same other weights.
        self.projection: nn.Module | None = None
        self.memory: MemoryQueue | None = None
        self.classification: ClassificationLoss | None = None
        self.objective: SiteObjective | None = None
        self.mixing: GeneralisationSettings | None = None
        self.register_buffer("prototypes", None)
        self.register_buffer("minority", None)
        if class_counts is not None:
            self._prepare_training(width, np.asarray(class_counts), n_sites)

    def _prepare_training(self, width: int, counts: np.ndarray, n_sites: int) -> None:
        self.classification = ClassificationLoss(self.settings.loss, counts)
        if isinstance(self.settings, StagedSettings):
            general = self.settings.general
            parts = SiteParts(self.classifier, self.classification, n_sites)
            self.objective = make_objective(general, parts)
            self.mixing = general if general.kind in ("mixstyle", "mixup") else None
            if general.kind == "mixup":
                check_decoupled(general, self.classifier, self.classification)
        contrast = self.settings.contrast
        if contrast is None:
            return
        features = contrast.projection
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, features)
        )
        if contrast.memory:
            self.memory = MemoryQueue(contrast.memory, features)
        if contrast.variant == "prototypes":
            self.prototypes = simplex_prototypes(self.n_classes, features)
        if contrast.variant == "minority":
            self.minority = torch.as_tensor(counts < counts.max())

    def rate_of(self, name: str) -> float:
        """Return what the learning rate of a parameter is multiplied by.

        Adam moves each weight by the rate, so what a layer of D inputs says moves by D times that. The
        first layer makes up for reading fewer numbers than those on which the rate was settled (our
        construction; of fewer numbers than were measured, it makes up as for those).
        """
        if name != _FIRST_LAYER or self.directions is not None:
            return 1.0
        read = max(len(self.centre), _FEWEST_MEASURED)
        return max(_RATE_SETTLED_AT / read, 1.0) ** self.settings.first_layer_power

    def take_inputs(self, inputs: Inputs) -> None:
        """Set what is done to the instances, as fitted on the training bags alone."""
        self.centre.copy_(torch.as_tensor(inputs.mean, dtype=torch.float32))
        self.scale.copy_(torch.as_tensor(inputs.scale, dtype=torch.float32))
        if self.directions is not None and inputs.directions is not None:
            self.directions.copy_(torch.as_tensor(inputs.directions))

    def instances(self, rows: Tensor) -> Tensor:
        """Return instances (N x D) as the aggregator reads them (N x D, or N x k)."""
        return self._whitened(self._standardised(rows))

    def _standardised(self, rows: Tensor) -> Tensor:
        return (rows - self.centre) / self.scale

    def _whitened(self, rows: Tensor) -> Tensor:
        return rows if self.directions is None else rows @ self.directions.T

    def forward(self, batch: Bags) -> Output:
        """Return logits and embedding of a batch of bags."""
        pooled = self._pooled(batch)
        return Output(self.classifier(pooled.embedding), pooled.embedding)

    def _pooled(self, batch: Bags) -> Pooled:
        rows = self._standardised(batch.rows)
        if self.training and self.settings.site_jitter:
            rows = site_jittered(rows, batch.offsets, self.settings.site_jitter, batch.views)
        if self.training and self.mixing is not None and self.mixing.kind == "mixstyle":
            rows = mixed_bags(rows, batch.offsets, batch.sites, self.mixing, batch.views)
        return self.aggregator(self._whitened(rows), batch.offsets)

    def step(self, batch: Bags, progress: float) -> dict[str, Tensor]:
        """Return the losses of a training batch; ``beta`` and the diagnostics are logged."""
        if self.classification is None:
            raise RuntimeError("a model without class counts predicts, it does not train")
        pairs = self._pairs(batch, progress)  # drawn before dropout draws
        if self.freeze_from is not None and progress >= self.freeze_from:
            return self._classified(self._frozen_embedding(batch), batch, progress, pairs)
        embedding = self._pooled(batch).embedding
        contrast = self.settings.contrast
        if self.projection is None or contrast is None:
            return self._classified(embedding, batch, progress, pairs)
        beta = contrast.beta(progress)
        always = contrast.classifier == "always"
        read = _with_gradient_scaled(embedding, 1 - beta) if always else embedding
        losses = self._classified(read, batch, progress, pairs)
        weight = 1.0 if always else 1 - beta  # where it always learns, the weight is in `read`
        pulled = self._pulled(embedding, batch)
        return {
            **losses,
            **pulled,
            "loss": beta * pulled["contrast"] + weight * losses["classification"],
            "beta": torch.tensor(beta),
        }

    def _pulled(self, embedding: Tensor, batch: Bags) -> dict[str, Tensor]:
        """Return the contrast of a batch and what is logged of it."""
        assert self.projection is not None
        projected = self.projection(embedding).float()
        z = gather(projected)
        labels, bags = gather(batch.labels), gather(batch.bags)
        contrast = self._contrast(z, labels, bags)
        if self.memory is not None:
            self.memory.push(projected, batch.labels)
        return {
            "contrast": contrast.loss,
            **self._above_lowest(contrast.loss, labels),
            **{f"valid_anchors_{c}": share for c, share in enumerate(contrast.valid_share())},
            **contrast_diagnostics(z, labels, bags, self.n_classes),
        }

    def _pairs(self, batch: Bags, progress: float) -> Pairs | None:
        """Whose embeddings are mixed in this step; None where none are."""
        if self.mixing is None or self.mixing.kind != "mixup" or not mixes(self.mixing, progress):
            return None
        return draw_pairs(batch.labels, batch.sites, self.mixing, batch.views)

    def _classified(
        self, embedding: Tensor, batch: Bags, progress: float, pairs: Pairs | None
    ) -> dict[str, Tensor]:
        """Return the classifier's loss of plain or mixed embeddings, and how the plain ones gather."""
        assert self.classification is not None
        collapse = neural_collapse(embedding, batch.labels, self.n_classes)
        read = embedding if pairs is None else pairs.mixed(embedding, batch.views)
        logits = self.classifier(read)

        def risk(labels: Tensor) -> Tensor:
            return self._risk(read, logits, labels, progress)

        if pairs is not None and self.mixing is not None:
            losses = mixed_losses(
                pairs, risk, logits, batch.labels, self.mixing, self.classification
            )
        elif self.objective is not None:
            losses = site_losses(self.objective, self._risk, read, logits, batch, progress)
        else:
            losses = {"loss": risk(batch.labels)}
        return {**losses, "classification": losses["loss"], **collapse}

    def _risk(self, embedding: Tensor, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        assert self.classification is not None
        return self.classification(logits, labels, progress)

    def _contrast(self, z: Tensor, labels: Tensor, bags: Tensor) -> ContrastiveLoss:
        assert self.settings.contrast is not None
        return supervised_contrastive(
            z,
            labels,
            self.settings.contrast.temperature,
            n_classes=self.n_classes,
            memory=None if self.memory is None else self.memory.content(),
            prototypes=self.prototypes,
            minority=self.minority,
            items=bags,
        )

    def _frozen_embedding(self, batch: Bags) -> Tensor:
        """The embedding that will be predicted with: without dropout, and without gradients."""
        trained = self.aggregator.training
        self.aggregator.eval()
        with torch.no_grad():
            pooled = self.aggregator(self.instances(batch.rows), batch.offsets)
        self.aggregator.train(trained)
        return pooled.embedding

    def _above_lowest(self, loss: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """How far the plain contrast is above its lowest value; those of its variants differ."""
        assert self.settings.contrast is not None
        if self.memory is not None or self.settings.contrast.variant != "standard":
            return {}
        lowest = lowest_contrastive(labels, self.settings.contrast.temperature)
        return {"contrast_above_lowest": loss.detach() - lowest}

    def inference_state(self) -> dict[str, Tensor]:
        """Return the weights without the projection head and all else that only training reads."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if not name.startswith(_TRAINING_ONLY)}


def _with_gradient_scaled(values: Tensor, factor: float) -> Tensor:
    """Return the same values, through which ``factor`` times the gradient goes back."""
    return values.detach() + factor * (values - values.detach())
