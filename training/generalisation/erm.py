"""Empirical risk minimisation, and the same with an objective over sites."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from offsite.training.algorithm import Algorithm, Output
from offsite.training.generalisation.objectives import SiteObjective, site_losses
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss


@dataclass(frozen=True)
class Parts:
    """What an algorithm is made of; ``n_sites`` training sites are numbered from 0."""

    backbone: nn.Module
    classifier: nn.Module
    loss: ClassificationLoss
    n_sites: int


class ERM(Algorithm):
    """A backbone and a classifier, trained to classify and nothing else.

    The sampler, the averaging of weights and the head for ordered grades are set elsewhere, so
    ERM with any of them is a fair baseline of every other algorithm here.

    Parameters
    ----------
    backbone : nn.Module
        ``backbone(pixels) -> B x E``.
    classifier : nn.Module
        ``classifier(embedding) -> B x C`` logits. One that has ``own_loss(embedding, labels)``
        (`offsite.training.heads.ordinal.GradeHead`) is trained by it and not by ``loss``.
    loss : ClassificationLoss
        Of logits and labels.
    """

    def __init__(
        self, backbone: nn.Module, classifier: nn.Module, loss: ClassificationLoss
    ) -> None:
        super().__init__()
        self.backbone, self.classifier, self.loss = backbone, classifier, loss

    @classmethod
    def from_settings(cls, parts: Parts, settings: GeneralisationSettings) -> Self:
        """Return the algorithm; a subclass reads those settings that are meant for it."""
        return cls(parts.backbone, parts.classifier, parts.loss)

    def embed(self, batch: Any) -> Tensor:
        """Return B x E features of a batch's ``pixels``."""
        features: Tensor = self.backbone(batch.pixels)
        return features

    def forward(self, batch: Any) -> Output:
        """Return logits and embedding."""
        embedding = self.embed(batch)
        return Output(self.classifier(embedding), embedding)

    def step(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the classification loss of a batch."""
        out = self(batch)
        return {"loss": self.risk(out.embedding, out.logits, batch.labels, progress)}

    def rate_of(self, name: str) -> float:
        """Return the backbone's factor of its own parameters, 1 for all others."""
        factor = getattr(self.backbone, "rate_of", None)
        if factor is None or not name.startswith("backbone."):
            return 1.0
        return float(factor(name.removeprefix("backbone.")))

    def risk(self, embedding: Tensor, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        """Return the loss of some rows by the classifier's loss, if it has one, or by the given one."""
        head_loss = getattr(self.classifier, "own_loss", None)
        loss = head_loss(embedding, labels) if head_loss else self.loss(logits, labels, progress)
        return torch.as_tensor(loss)


class SiteAlgorithm(ERM):
    """ERM whose batches are seen site by site: what is minimised is a `SiteObjective`."""

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        loss: ClassificationLoss,
        objective: SiteObjective,
    ) -> None:
        super().__init__(backbone, classifier, loss)
        self.objective = objective

    def step(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the losses of a batch, from the rows and the risks of its sites."""
        out = self(batch)
        return site_losses(self.objective, self.risk, out.embedding, out.logits, batch, progress)

    def inference_state(self) -> dict[str, Tensor]:
        """Return the network's weights, without what the objective remembers of the sites."""
        state = self.state_dict()
        return {name: t for name, t in state.items() if not name.startswith("objective.")}
