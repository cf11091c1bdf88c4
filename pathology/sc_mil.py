"""SC-MIL: bags learn by supervised contrast first, then hand over to the classifier.

Juyal et al., "SC-MIL: Supervised Contrastive Multiple Instance Learning for Imbalanced
Classification in Pathology", WACV 2024, arXiv 2303.13405. The loss at progress t is
beta(t) * contrast(g(b)) + (1 - beta(t)) * cross-entropy(W b) on bag embeddings b, with beta falling
from 1. The shape of beta, the width of g and the mean over valid anchors are our construction.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from pathology.aggregators.registry import AggregatorSettings, build_aggregator
from pathology.bags import Bags
from preprocessing.settings import Settings
from training.algorithm import Algorithm, Output
from training.losses.classification import cross_entropy
from training.losses.contrastive import supervised_contrastive
from training.schedules import ScheduleName, scheduled

_SCALE_FLOOR = 1e-3


class ScMilSettings(Settings):
    """The network and its losses; without contrast it is the plain cross-entropy baseline."""

    aggregator: AggregatorSettings = Field(
        default=AggregatorSettings(), description="How the instances of a bag become one embedding"
    )
    contrast: bool = Field(
        default=True, description="Whether bags learn by supervised contrast at all"
    )
    temperature: float = Field(
        default=1.0, gt=0, description="Temperature of the contrast (cosine units)"
    )
    schedule: ScheduleName = Field(
        default="linear", description="Course of beta, the weight of the contrast, over progress"
    )
    step_at: float = Field(
        default=0.5, gt=0, lt=1, description="Progress at which schedule 'step' falls"
    )
    floor: float = Field(default=0.0, ge=0, le=1, description="Value of beta at the end")
    projection: int = Field(
        default=64, ge=2, le=4096, description="Width of the projection head (numbers); not kept"
    )

    def beta(self, progress: float) -> float:
        """Return the weight of the contrast at ``progress`` in [0, 1]."""
        if not self.contrast:
            return 0.0
        return scheduled(self.schedule, progress, floor=self.floor, step_at=self.step_at)

    def classifier_leads_from(self) -> float:
        """Return the first progress, in hundredths, at which beta is at most a half.

        Before it the classifier has hardly been trained, and validation scores say little. 0 where
        beta never falls so far.
        """
        steps = [step / 100 for step in range(101)]
        return next((t for t in steps if self.beta(t) <= 0.5), 0.0)


class ScMil(Algorithm):
    """Attention-based multiple-instance learning with supervised contrast between bags.

    Parameters
    ----------
    dimensions : int
        D of the instances.
    n_classes : int
        C.
    settings : ScMilSettings
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, dimensions: int, n_classes: int, settings: ScMilSettings) -> None:
        super().__init__()
        self.settings, self.n_classes = settings, n_classes
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(dimensions))
        self.aggregator = build_aggregator(settings.aggregator, dimensions)
        width = self.aggregator.dimensions
        self.classifier = nn.Linear(width, n_classes)
        # Drawn last, so that the baseline without contrast starts from the same other weights.
        self.projection = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, settings.projection))
            if settings.contrast
            else None
        )

    def standardise(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set the shift and scale of the instances, fitted on training bags alone (each D)."""
        self.centre.copy_(torch.as_tensor(mean, dtype=torch.float32))
        floor = np.maximum(deviation, _SCALE_FLOOR)
        self.scale.copy_(torch.as_tensor(floor, dtype=torch.float32))

    def instances(self, rows: Tensor) -> Tensor:
        """Return instances (N x D) as the aggregator reads them."""
        return (rows - self.centre) / self.scale

    def forward(self, batch: Bags) -> Output:
        """Return logits and embedding of a batch of bags."""
        pooled = self.aggregator(self.instances(batch.rows), batch.offsets)
        return Output(self.classifier(pooled.embedding), pooled.embedding)

    def step(self, batch: Bags, progress: float) -> dict[str, Tensor]:
        """Return the losses of a training batch; ``beta`` and valid anchors are logged."""
        output = self(batch)
        classification = cross_entropy(output.logits, batch.labels)
        if self.projection is None:
            return {"loss": classification, "classification": classification}
        beta = self.settings.beta(progress)
        contrast = supervised_contrastive(
            self.projection(output.embedding),
            batch.labels,
            self.settings.temperature,
            n_classes=self.n_classes,
        )
        valid = {
            f"valid_anchors_{number}": share for number, share in enumerate(contrast.valid_share())
        }
        return {
            "loss": beta * contrast.loss + (1 - beta) * classification,
            "classification": classification,
            "contrast": contrast.loss,
            "beta": torch.tensor(beta),
            **valid,
        }

    def inference_state(self) -> dict[str, Tensor]:
        """Return the weights without the projection head, which nothing reads after training."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if not name.startswith("projection.")}
