"""SC-MIL: bags learn by supervised contrast first, then hand over to the classifier.

Juyal et al., "SC-MIL: Supervised Contrastive Multiple Instance Learning for Imbalanced
Classification in Pathology", WACV 2024, arXiv 2303.13405. The loss at progress t is
beta(t) * contrast(g(b)) + (1 - beta(t)) * cross-entropy(W b) on bag embeddings b, with beta falling
from 1. The shape of beta, the width of g and the mean over valid anchors are our construction.
"""

import numpy as np
import torch
from torch import Tensor, nn

from offsite.pathology.aggregators.registry import build_aggregator
from offsite.pathology.bags import Bags
from offsite.pathology.settings import ScMilSettings, StagedSettings
from offsite.pathology.site_jitter import site_jittered
from offsite.training.algorithm import Algorithm, Output
from offsite.training.devices.distributed import gather
from offsite.training.diagnostics import contrast_diagnostics, neural_collapse
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.contrastive import (
    ContrastiveLoss,
    lowest_contrastive,
    simplex_prototypes,
    supervised_contrastive,
)
from offsite.training.losses.imbalance import CosineClassifier
from offsite.training.losses.memory import MemoryQueue

_LEAST_SCALE = 0.1
_TRAINING_ONLY = ("projection.", "memory.", "classification.", "prototypes", "minority")


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
    """

    centre: Tensor
    scale: Tensor
    prototypes: Tensor | None
    minority: Tensor | None

    def __init__(
        self,
        dimensions: int,
        n_classes: int,
        settings: ScMilSettings,
        class_counts: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.n_classes = settings, n_classes
        self.freeze_from = settings.freeze_from if isinstance(settings, StagedSettings) else None
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(dimensions))
        self.aggregator = build_aggregator(settings.aggregator, dimensions, n_classes)
        width = self.aggregator.dimensions
        self.classifier: nn.Module = nn.Linear(width, n_classes)
        if settings.loss.kind == "ldam_drw":
            self.classifier = CosineClassifier(width, n_classes, settings.loss.cosine_scale)
        # What follows is for training alone and drawn last, so that the methods start from the
        # same other weights.
        self.projection: nn.Module | None = None
        self.memory: MemoryQueue | None = None
        self.classification: ClassificationLoss | None = None
        self.register_buffer("prototypes", None)
        self.register_buffer("minority", None)
        if class_counts is not None:
            self._prepare_training(width, np.asarray(class_counts))

    def _prepare_training(self, width: int, counts: np.ndarray) -> None:
        self.classification = ClassificationLoss(self.settings.loss, counts)
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

    def standardise(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set the shift and scale of the instances, fitted on training bags alone (each D).

        No scale is below a tenth of the median one: a feature that hardly varies at the training
        sites would otherwise be blown up at a site where it does.
        """
        moving = deviation[deviation > 0]
        least = _LEAST_SCALE * float(np.median(moving)) if len(moving) else 1.0
        scale = np.maximum(deviation, least)
        self.centre.copy_(torch.as_tensor(mean, dtype=torch.float32))
        self.scale.copy_(torch.as_tensor(scale, dtype=torch.float32))

    def instances(self, rows: Tensor) -> Tensor:
        """Return instances (N x D) as the aggregator reads them."""
        return (rows - self.centre) / self.scale

    def forward(self, batch: Bags) -> Output:
        """Return logits and embedding of a batch of bags."""
        rows = self.instances(batch.rows)
        if self.training and self.settings.site_jitter:
            rows = site_jittered(rows, batch.offsets, self.settings.site_jitter)
        pooled = self.aggregator(rows, batch.offsets)
        return Output(self.classifier(pooled.embedding), pooled.embedding)

    def step(self, batch: Bags, progress: float) -> dict[str, Tensor]:
        """Return the losses of a training batch; ``beta`` and the diagnostics are logged."""
        if self.classification is None:
            raise RuntimeError("a model without class counts predicts, it does not train")
        if self.freeze_from is not None and progress >= self.freeze_from:
            frozen = self._frozen_embedding(batch)
            return self._classified(self.classifier(frozen), frozen, batch, progress)
        output = self(batch)
        losses = self._classified(output.logits, output.embedding, batch, progress)
        if self.projection is None or self.settings.contrast is None:
            return losses
        projected = self.projection(output.embedding).float()
        z = gather(projected)
        labels, bags = gather(batch.labels), gather(batch.bags)
        beta = self.settings.contrast.beta(progress)
        contrast = self._contrast(z, labels, bags)
        if self.memory is not None:
            self.memory.push(projected, batch.labels)
        return {
            **losses,
            "loss": beta * contrast.loss + (1 - beta) * losses["classification"],
            "contrast": contrast.loss,
            "beta": torch.tensor(beta),
            **self._above_lowest(contrast.loss, labels),
            **{f"valid_anchors_{c}": share for c, share in enumerate(contrast.valid_share())},
            **contrast_diagnostics(z, labels, bags, self.n_classes),
        }

    def _classified(
        self, logits: Tensor, embedding: Tensor, batch: Bags, progress: float
    ) -> dict[str, Tensor]:
        assert self.classification is not None
        loss = self.classification(logits, batch.labels, progress)
        collapse = neural_collapse(embedding, batch.labels, self.n_classes)
        return {"loss": loss, "classification": loss, **collapse}

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
