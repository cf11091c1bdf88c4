"""Supervised contrastive loss on embeddings of bags or photographs, and its repairs."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Variant = Literal["standard", "minority", "prototypes"]


@dataclass(frozen=True)
class ContrastiveLoss:
    """A contrastive loss and how many anchors it stands on.

    Attributes
    ----------
    loss : Tensor
        Scalar, float32; 0 with a gradient of 0 where no anchor is valid.
    anchors, valid : Tensor
        C, int64: anchors of each class, and those of them with a positive in the batch.
    """

    loss: Tensor
    anchors: Tensor
    valid: Tensor

    def valid_share(self) -> Tensor:
        """Return valid / anchors per class; NaN, which curves leave out, for an absent class."""
        share = self.valid / self.anchors.clamp(min=1)
        return torch.where(self.anchors > 0, share, torch.nan)


def supervised_contrastive(
    embeddings: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    n_classes: int | None = None,
    memory: tuple[Tensor, Tensor] | None = None,
    prototypes: Tensor | None = None,
    minority: Tensor | None = None,
    items: Tensor | None = None,
) -> ContrastiveLoss:
    """Return the supervised contrastive loss, mean over the anchors that have a positive.

    For anchor i with positives P(i) (others of its class) and candidates A(i) (all others):
    -1/|P(i)| sum_{p in P(i)} log( exp(z_i z_p / t) / sum_{a in A(i)} exp(z_i z_a / t) ).
    Khosla et al. 2020, arXiv 2004.11362, equation 2 (L_out), used on bags by Juyal et al. 2024,
    arXiv 2303.13405. The mean over valid anchors (and not the sum) is our construction: it keeps
    the balance with cross-entropy independent of the batch size.

    In several processes give gathered rows (`offsite.training.devices.distributed.gather`).

    Parameters
    ----------
    embeddings : Tensor
        B x E; normalised here, in float32 also under autocast.
    labels : Tensor
        B, int64; -1 = unlabelled: such an item is neither anchor nor positive nor negative.
    temperature : float
        t > 0.
    n_classes : int, optional
        C, for the counts; by default the largest label plus one.
    memory : (Tensor, Tensor), optional
        M x E embeddings and M labels of earlier batches: further candidates, never anchors.
    prototypes : Tensor, optional
        C x E fixed directions (`simplex_prototypes`): further candidates, that of an anchor's class
        a positive, so every anchor is valid. After "supervised prototypes" (Mildenberger et al.
        2025, arXiv 2503.17024); that they join the sum as items do is our construction.
    minority : Tensor, optional
        C, bool: classes whose items attract each other. Items of the other classes attract only
        their further views (``items``), so a majority class cannot collapse to a point. After
        "supervised minority" of the same paper.
    items : Tensor, optional
        B, int64: which item (slide, photograph) a row is a view of; needed with ``minority`` where
        the majority is to be an anchor at all.
    """
    known = labels >= 0
    y = labels[known]
    with torch.autocast(embeddings.device.type, enabled=False):
        z = F.normalize(embeddings[known].float(), dim=1)
        positive = _positives(y, minority, None if items is None else items[known])
        candidates, positive = _with_further(z, y, positive, memory, prototypes, minority)
        similarity = z @ candidates.T / temperature
        itself = torch.zeros_like(positive)
        itself.fill_diagonal_(True)
        # A lone item has no candidate; the softmax over none would make its gradient NaN.
        lone = len(candidates) <= 1
        others = similarity if lone else similarity.masked_fill(itself, -torch.inf)
        log_share = similarity - others.logsumexp(dim=1, keepdim=True)
        loss, valid = mean_over_valid_anchors(log_share, positive & ~itself)
    counted = n_classes if n_classes is not None else int(y.max()) + 1 if len(y) else 0
    anchors = torch.bincount(y, minlength=counted)
    return ContrastiveLoss(loss, anchors, torch.bincount(y[valid], minlength=counted))


def _positives(labels: Tensor, minority: Tensor | None, items: Tensor | None) -> Tensor:
    same_class = labels[:, None] == labels[None, :]
    if minority is None:
        return same_class
    attracted = same_class & minority.to(labels.device)[labels][:, None]
    return attracted if items is None else attracted | (items[:, None] == items[None, :])


def _with_further(
    z: Tensor,
    labels: Tensor,
    positive: Tensor,
    memory: tuple[Tensor, Tensor] | None,
    prototypes: Tensor | None,
    minority: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Append the candidates beyond the batch, and which anchors they are positives of."""
    if memory is not None:
        stored, stored_labels = memory
        z = torch.cat([z, F.normalize(stored.detach().float(), dim=1)])
        same = labels[:, None] == stored_labels[None, :]
        if minority is not None:
            same &= minority.to(labels.device)[labels][:, None]
        positive = torch.cat([positive, same], dim=1)
    if prototypes is not None:
        z = torch.cat([z, F.normalize(prototypes.to(z), dim=1)])
        of_class = F.one_hot(labels, len(prototypes)).bool()
        positive = torch.cat([positive, of_class], dim=1)
    return z, positive


def mean_over_valid_anchors(log_share: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Return minus the mean log share of the positives, and which anchors have one.

    Parameters
    ----------
    log_share : Tensor
        A x K: log of the softmax over an anchor's candidates.
    positive : Tensor
        A x K, bool.
    """
    count = positive.sum(dim=1)
    valid = count > 0
    # where() and not a product: a masked entry may be infinite, and 0 * inf is NaN.
    each = torch.where(positive, log_share, 0.0).sum(dim=1) / count.clamp(min=1)
    loss = -torch.where(valid, each, 0.0).sum() / valid.sum().clamp(min=1)
    return loss, valid


def simplex_prototypes(n_classes: int, features: int) -> Tensor:
    """Return C x E unit rows with equal cosines of -1 / (C - 1), as far apart as C points can be.

    Raises
    ------
    ValueError
        ``features`` is smaller than ``n_classes``.

    Examples
    --------
    >>> (simplex_prototypes(3, 4) @ simplex_prototypes(3, 4).T).round(decimals=2).tolist()
    [[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]]
    """
    if features < n_classes:
        raise ValueError(f"{n_classes} prototypes need at least as many features, not {features}")
    if n_classes == 1:
        return torch.eye(1, features)
    centred = torch.eye(n_classes) - 1 / n_classes
    return F.normalize(F.pad(centred, (0, features - n_classes)), dim=1)


def lowest_contrastive(labels: Tensor, temperature: float) -> float:
    """Return the loss of a batch whose classes are collapsed to the vertices of a simplex.

    The value that `supervised_contrastive` tends to is not 0 (at t = 1 it is close to that of
    random embeddings); curves are read against it. Exact for balanced batches, near it otherwise.
    """
    y = labels[labels >= 0]
    if len(y) < 2:
        return 0.0
    _, index = torch.unique(y, return_inverse=True)
    n_classes = int(index.max()) + 1
    vertices = simplex_prototypes(n_classes, n_classes)[index.cpu()]
    return float(supervised_contrastive(vertices, index.cpu(), temperature).loss)
