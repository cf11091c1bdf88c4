"""Mixup of items and labels, with the decoupled term, for pictures and for embeddings of bags."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.training.devices.distributed import draw_together, gather
from offsite.training.generalisation.erm import ERM, Parts
from offsite.training.generalisation.mixing import beta_draws, partners
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss

_PLAIN = GeneralisationSettings(kind="mixup")


@dataclass(frozen=True)
class Pairs:
    """Whom each item of a batch is mixed with, and its own share.

    Attributes
    ----------
    partner : Tensor
        B, int64: the partner's place in the global batch.
    labels : Tensor
        B, int64: the partners'.
    share : float
        Of the items themselves, in 0..1; one for a batch, as in the authors' code.
    """

    partner: Tensor
    labels: Tensor
    share: float

    def mixed(self, rows: Tensor, together: int = 1) -> Tensor:
        """Return rows (B x ...) mixed with their partners', which may lie in other processes."""
        return self.share * rows + (1 - self.share) * gather(rows, together)[self.partner]

    def loss(self, risk: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor:
        """Return the loss of both labels, in their shares."""
        return self.share * risk(labels) + (1 - self.share) * risk(self.labels)


def draw_pairs(
    labels: Tensor, sites: Tensor | None, settings: GeneralisationSettings, together: int = 1
) -> Pairs:
    """Draw the pairs of a batch, within the global one; before anything else of a step is drawn.

    Parameters
    ----------
    labels, sites : Tensor
        B, int64, of this process's items.
    together : int
        Neighbouring items that are views of one.
    """
    of_all = gather(labels, together)
    of_sites = None if sites is None else gather(sites, together)

    def draw(total: int) -> Tensor:
        if settings.pairs == "adjacent":
            partner = near_partners(of_all, of_sites, other_site=settings.other_site)
        else:
            partner = partners(of_sites, total, other_site=settings.other_site)
        share = beta_draws(settings.alpha, 1).expand(total)
        return torch.stack([partner.double(), share.double()], dim=1)

    drawn = draw_together(draw, len(labels), together)
    partner = drawn[:, 0].long().to(labels.device)
    return Pairs(partner, of_all[partner], float(drawn[0, 1]))


def near_partners(labels: Tensor, sites: Tensor | None, *, other_site: bool) -> Tensor:
    """Return for each item a random one of the same or a neighbouring grade, of another site if any.

    Halves of grade 0 and of grade 4 make no grade 2. An item without such a partner is its own.

    Parameters
    ----------
    labels : Tensor
        n, int64: grades in order; -1 = unlabelled, which has no partner.
    sites : Tensor or None
        n, int64.

    Examples
    --------
    >>> near_partners(torch.tensor([0, 4, 1]), None, other_site=False).tolist()
    [2, 1, 0]
    """
    grades, n = labels.cpu(), len(labels)
    alone = torch.eye(n, dtype=torch.bool)
    known = (grades[:, None] >= 0) & (grades[None, :] >= 0)
    near = known & ((grades[:, None] - grades[None, :]).abs() <= 1) & ~alone
    if sites is not None and other_site:
        abroad = near & (sites.cpu()[:, None] != sites.cpu()[None, :])
        near = torch.where(abroad.any(dim=1, keepdim=True), abroad, near)
    near = torch.where(near.any(dim=1, keepdim=True), near, alone)
    return torch.where(near, torch.rand(n, n), -1.0).argmax(dim=1)


def decoupled_term(
    logits: Tensor, first: Tensor, second: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean over items of the two losses in which a class is judged without the other.

    -log(e^z_a / sum_{c != b} e^z_c) - log(e^z_b / sum_{c != a} e^z_c), of the mixed item's logits z and
    the classes a and b that it is mixed of; Liu et al. 2023, arXiv 2203.10761, both terms in full as in
    the paper (the authors' code weighs them by the shares and keeps the larger). 0 for a pair of one class, and of two classes for every pair, for one logit is left.

    Parameters
    ----------
    logits : Tensor
        B x C; those of a loss that shifts them by class counts are shifted before.
    first, second : Tensor
        B, int64; -1 = unlabelled, which gives 0.
    class_weights : Tensor, optional
        C: each term counts by the weight of the class it judges.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 2.0]])
    >>> float(decoupled_term(z, torch.tensor([0]), torch.tensor([1])))
    0.0
    """
    z = logits.float()
    differ = (first != second) & (first >= 0) & (second >= 0)
    a, b = first.clamp(min=0), second.clamp(min=0)
    total = z.new_zeros(len(z))
    for judged, removed in ((a, b), (b, a)):
        mask = F.one_hot(removed, z.shape[1]).bool() & differ[:, None]
        left = F.log_softmax(z.masked_fill(mask, -torch.inf), dim=1)
        each = -left.gather(1, judged[:, None])[:, 0]
        weight = 1.0 if class_weights is None else class_weights.float()[judged]
        total = total + torch.where(differ, weight * each, 0.0)
    return total.sum() / max(len(z), 1)


def check_decoupled(
    settings: GeneralisationSettings, classifier: nn.Module, loss: ClassificationLoss
) -> None:
    """Refuse the decoupled term where it is nothing, or not defined.

    Raises
    ------
    InputError
        Code ``nothing_to_decouple`` (two classes), or ``unfit_loss`` (no cross-entropy of logits).
    """
    if not settings.decoupled:
        return
    if len(loss.counts) < 3:
        raise InputError(
            "of two classes decoupled mixup is mixup: with one removed, nothing is left to judge by",
            remedy="Set training.general.decoupled to 0",
            code="nothing_to_decouple",
        )
    if hasattr(classifier, "own_loss") or loss.settings.kind in ("focal", "ldam_drw"):
        raise InputError(
            "decoupled mixup takes classes out of a softmax, and this head or loss has none",
            remedy="Set training.general.decoupled to 0, or take head 'linear' and another loss",
            code="unfit_loss",
        )


class Mixup(ERM):
    """Convex combinations of two items; the loss is that of both labels, in their shares.

    Zhang et al. 2018, arXiv 1710.09412. Pairs are made within the global batch and, where it allows,
    across sites, as benchmarks of domain generalisation do. Of a frozen trunk its features are mixed.

    Parameters
    ----------
    settings : GeneralisationSettings
        ``alpha`` (Beta(alpha, alpha) of the share), ``other_site``, ``pairs``; ``decoupled``, the weight of
        `decoupled_term`; ``until``, the progress from which a step is that of `ERM`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        loss: ClassificationLoss,
        settings: GeneralisationSettings = _PLAIN,
    ) -> None:
        super().__init__(backbone, classifier, loss)
        check_decoupled(settings, classifier, loss)
        self.settings = settings

    @classmethod
    def from_settings(cls, parts: Parts, settings: GeneralisationSettings) -> Self:
        """Return the algorithm as set."""
        return cls(parts.backbone, parts.classifier, parts.loss, settings)

    def step(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the loss of the mixed items."""
        if not mixes(self.settings, progress):
            return super().step(batch, progress)
        pairs = draw_pairs(batch.labels, batch.sites, self.settings)
        embedding = self.backbone(pairs.mixed(batch.pixels))
        logits = self.classifier(embedding)

        def risk(labels: Tensor) -> Tensor:
            return self.risk(embedding, logits, labels, progress)

        return mixed_losses(pairs, risk, logits, batch.labels, self.settings, self.loss)


def mixes(settings: GeneralisationSettings, progress: float) -> bool:
    """Whether a step at this progress mixes; with ``until`` 1 the last one does too."""
    return settings.until == 1 or progress < settings.until


def mixed_losses(
    pairs: Pairs,
    risk: Callable[[Tensor], Tensor],
    logits: Tensor,
    labels: Tensor,
    settings: GeneralisationSettings,
    loss: ClassificationLoss,
) -> dict[str, Tensor]:
    """Return the loss of mixed items, with the decoupled term where it is asked for.

    Parameters
    ----------
    risk : callable
        ``risk(labels)``: the mean loss of the mixed items' logits (B x C) by such labels (B).
    labels : Tensor
        B, int64, of the items themselves.
    """
    mixed = pairs.loss(risk, labels)
    if not settings.decoupled:
        return {"loss": mixed}
    term = decoupled_term(loss.shifted(logits), labels, pairs.labels, loss.class_weights)
    return {"loss": mixed + settings.decoupled * term, "decoupled": term}
