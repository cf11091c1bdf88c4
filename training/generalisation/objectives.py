"""What is minimised of a batch that is seen site by site, whatever its items and networks are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from offsite.training.devices.distributed import gather
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss


@dataclass(frozen=True)
class SiteParts:
    """What an objective is made of; ``n_sites`` training sites are numbered from 0."""

    classifier: nn.Module
    loss: ClassificationLoss
    n_sites: int


@dataclass(frozen=True)
class SiteRows:
    """The labelled rows of one site in the global batch."""

    site: int
    embedding: Tensor
    logits: Tensor
    labels: Tensor


class SiteObjective(nn.Module):
    """Losses from the rows and the risks of the sites in a batch."""

    @classmethod
    def from_settings(cls, parts: SiteParts, settings: GeneralisationSettings) -> Self:
        """Return the objective; a subclass reads those settings that are meant for it."""
        raise NotImplementedError

    def forward(self, sites: list[SiteRows], risks: Tensor, progress: float) -> dict[str, Tensor]:
        """Return the losses by name, given the sites present and the mean loss of each."""
        raise NotImplementedError


class SitePenalty(SiteObjective):
    """Mean risk of the sites plus a weighted penalty on how they differ; 0 for a single site.

    Parameters
    ----------
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

    def __init__(self, *, weight: float, start: float = 0.0, weight_before: float = 0.0) -> None:
        super().__init__()
        self.weight, self.start, self.weight_before = weight, start, weight_before

    @classmethod
    def from_settings(cls, parts: SiteParts, settings: GeneralisationSettings) -> Self:
        """Return the objective with the weight of its penalty as set, else as in ``DEFAULTS``."""
        weight, start, before = cls.DEFAULTS
        weight = weight if settings.penalty_weight is None else settings.penalty_weight
        start = start if settings.penalty_start is None else settings.penalty_start
        strength = {"weight": weight, "start": start, "weight_before": min(before, weight)}
        return cls(**strength, **cls._further(parts, settings))

    @classmethod
    def _further(cls, parts: SiteParts, settings: GeneralisationSettings) -> dict[str, Any]:
        """Return what a subclass's constructor takes beside."""
        return {}

    def forward(self, sites: list[SiteRows], risks: Tensor, progress: float) -> dict[str, Tensor]:
        """Return risk, penalty and their weighted sum."""
        risk = risks.mean()
        penalty = self.penalty(sites, risks, progress)
        weight = self.weight if progress >= self.start else self.weight_before
        return {"loss": risk + weight * penalty, "risk": risk, "penalty": penalty}

    def penalty(self, sites: list[SiteRows], risks: Tensor, progress: float) -> Tensor:
        """Return a scalar >= 0 in expectation."""
        raise NotImplementedError


Risk = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""``risk(embedding, logits, labels, progress)``: the mean loss of some rows."""


def site_losses(
    objective: SiteObjective,
    risk: Risk,
    embedding: Tensor,
    logits: Tensor,
    batch: Any,
    progress: float,
) -> dict[str, Tensor]:
    """Return the objective's losses of a batch that was embedded and classified.

    Rows are gathered over processes first: every one sees the whole global batch, so sites are
    compared alike on any number of processes.

    Parameters
    ----------
    embedding, logits : Tensor
        B x E, B x C.
    batch : Batch
        Its ``labels`` and ``sites``.
    """
    sites = by_site(gather(embedding), gather(logits), gather(batch.labels), gather(batch.sites))
    if not sites:  # nothing is labelled: no loss, but one that has a gradient
        return {"loss": logits.sum() * 0.0}
    risks = torch.stack([risk(s.embedding, s.logits, s.labels, progress) for s in sites])
    losses: dict[str, Tensor] = objective(sites, risks, progress)
    return losses


def by_site(embedding: Tensor, logits: Tensor, labels: Tensor, sites: Tensor) -> list[SiteRows]:
    """Part the labelled rows by site, in order of the sites' numbers."""
    known = labels >= 0
    rows = []
    for site in torch.unique(sites[known]).tolist():
        here = known & (sites == site)
        rows.append(SiteRows(int(site), embedding[here], logits[here], labels[here]))
    return rows
