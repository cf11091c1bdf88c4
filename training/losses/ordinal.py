"""Losses for ordered grades."""

import torch
import torch.nn.functional as F
from torch import Tensor


def corn(conditional_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the CORN loss: a binary task for each threshold on the items that passed the last.

    Task k asks whether y > k of the items with y > k - 1; the losses of all tasks are summed and
    divided by the number of their items. Shi, Cao and Raschka 2023, arXiv 2111.08851, equation 7.
    Up to that divisor it is the cross-entropy of `offsite.training.heads.ordinal.CornHead`'s logits, which is
    what algorithms minimise.

    Parameters
    ----------
    conditional_logits : Tensor
        B x (C - 1): logit of y > k given y > k - 1.
    labels : Tensor
        B, int64; -1 = unlabelled.
    """
    known = labels >= 0
    z, y = conditional_logits[known].float(), labels[known]
    k = torch.arange(z.shape[1], device=z.device)
    asked = y[:, None] >= k
    passed = (y[:, None] > k).float()
    each = F.binary_cross_entropy_with_logits(z, passed, reduction="none")
    return torch.where(asked, each, 0.0).sum() / asked.sum().clamp(min=1)


def grade_error(grades: Tensor, labels: Tensor, delta: float = 1.0) -> Tensor:
    """Return the Huber loss of real-valued grades, mean over labelled items.

    Parameters
    ----------
    grades : Tensor
        B, on the scale of the labels (`offsite.training.heads.ordinal.GradeHead.grade`).
    labels : Tensor
        B, int64; -1 = unlabelled.
    delta : float
        Error (grades) from which the loss is linear: one grade off is noise, four are an outlier.
    """
    known = labels >= 0
    each = F.huber_loss(grades.float()[known], labels[known].float(), reduction="none", delta=delta)
    return each.sum() / known.sum().clamp(min=1)
