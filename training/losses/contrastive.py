"""Supervised contrastive loss on embeddings of bags or photographs."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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
) -> ContrastiveLoss:
    """Return the supervised contrastive loss, mean over the anchors that have a positive.

    For anchor i with positives P(i) (other items of its class) and others A(i):
    -1/|P(i)| sum_p log( exp(z_i z_p / t) / sum_{a in A(i)} exp(z_i z_a / t) ).
    Khosla et al. 2020, arXiv 2004.11362, equation 2 (L_out), used on bags by Juyal et al. 2024,
    arXiv 2303.13405. The mean over valid anchors (and not the sum) is our construction: it keeps
    the balance with cross-entropy independent of the batch size.

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
    """
    known = labels >= 0
    z, y = embeddings[known], labels[known]
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(z.float(), dim=1)
        similarity = z @ z.T / temperature
        itself = torch.eye(len(y), dtype=torch.bool, device=z.device)
        # A lone item has no candidate; the softmax over none would make its gradient NaN.
        others = similarity.masked_fill(itself, -torch.inf) if len(y) > 1 else similarity
        log_share = similarity - others.logsumexp(dim=1, keepdim=True)
        positive = (y[:, None] == y[None, :]) & ~itself
        loss, valid = mean_over_valid_anchors(log_share, positive)
    counted = n_classes if n_classes is not None else int(y.max()) + 1 if len(y) else 0
    anchors = torch.bincount(y, minlength=counted)
    return ContrastiveLoss(loss, anchors, torch.bincount(y[valid], minlength=counted))


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
