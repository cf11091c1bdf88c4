"""Empirical risk minimisation, and the frame of algorithms that compare sites."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from offsite.training.algorithm import Algorithm, Output
from offsite.training.devices.distributed import gather
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

    def risk(self, embedding: Tensor, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        """Return the loss of some rows by the classifier's loss, if it has one, or by the given one."""
        head_loss = getattr(self.classifier, "own_loss", None)
        loss = head_loss(embedding, labels) if head_loss else self.loss(logits, labels, progress)
        return torch.as_tensor(loss)


@dataclass(frozen=True)
class SiteRows:
    """The labelled rows of one site in the global batch."""

    site: int
    embedding: Tensor
    logits: Tensor
    labels: Tensor


class SiteAlgorithm(ERM):
    """Base of algorithms that see a batch site by site.

    Rows are gathered over processes first: every one sees the whole global batch, so sites are
    compared alike on any number of processes.
    """

    def step(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the losses of a batch, from the rows and the risks of its sites."""
        out = self(batch)
        sites = by_site(
            gather(out.embedding), gather(out.logits), gather(batch.labels), gather(batch.sites)
        )
        if not sites:  # nothing is labelled: no loss, but one that has a gradient
            return {"loss": out.logits.sum() * 0.0}
        risks = torch.stack([self.risk(s.embedding, s.logits, s.labels, progress) for s in sites])
        return self.objective(sites, risks, progress)

    def objective(self, sites: list[SiteRows], risks: Tensor, progress: float) -> dict[str, Tensor]:
        """Return the losses by name, given the sites present and the mean loss of each."""
        raise NotImplementedError


class SitePenalty(SiteAlgorithm):
    """Mean risk of the sites plus a weighted penalty on how they differ; 0 for a single site.

    Parameters
    ----------
    backbone, classifier, loss
        See `ERM`.
    weight : float
        Weight of the penalty from ``start`` on.
    start : float
        Progress from which the penalty has its full weight.
    weight_before : float
        Its weight until then.

    Notes
    -----
    ``DEFAULTS`` (weight, start, weight before) of the subclasses are those of the benchmark of
    Gulrajani and Lopez-Paz (arXiv 2007.01434), whose runs take 5,000 steps.
    """

    DEFAULTS: ClassVar[tuple[float, float, float]] = (1.0, 0.0, 0.0)

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        loss: ClassificationLoss,
        *,
        weight: float,
        start: float = 0.0,
        weight_before: float = 0.0,
    ) -> None:
        super().__init__(backbone, classifier, loss)
        self.weight, self.start, self.weight_before = weight, start, weight_before

    @classmethod
    def from_settings(cls, parts: Parts, settings: GeneralisationSettings) -> Self:
        """Return the algorithm with the weight of its penalty as set, else as in ``DEFAULTS``."""
        weight, start, before = cls.DEFAULTS
        weight = weight if settings.penalty_weight is None else settings.penalty_weight
        start = start if settings.penalty_start is None else settings.penalty_start
        return cls(
            parts.backbone,
            parts.classifier,
            parts.loss,
            weight=weight,
            start=start,
            weight_before=min(before, weight),
            **cls._further(parts, settings),
        )

    @classmethod
    def _further(cls, parts: Parts, settings: GeneralisationSettings) -> dict[str, Any]:
        """Return what a subclass's constructor takes beside."""
        return {}

    def objective(self, sites: list[SiteRows], risks: Tensor, progress: float) -> dict[str, Tensor]:
        """Return risk, penalty and their weighted sum."""
        risk = risks.mean()
        penalty = self.penalty(sites, risks, progress)
        weight = self.weight if progress >= self.start else self.weight_before
        return {"loss": risk + weight * penalty, "risk": risk, "penalty": penalty}

    def penalty(self, sites: list[SiteRows], risks: Tensor, progress: float) -> Tensor:
        """Return a scalar >= 0 in expectation."""
        raise NotImplementedError


def by_site(embedding: Tensor, logits: Tensor, labels: Tensor, sites: Tensor) -> list[SiteRows]:
    """Part the labelled rows by site, in order of the sites' numbers."""
    known = labels >= 0
    rows = []
    for site in torch.unique(sites[known]).tolist():
        here = known & (sites == site)
        rows.append(SiteRows(int(site), embedding[here], logits[here], labels[here]))
    return rows
