"""Cross-entropy over items, in float32 and exact across processes."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean over labelled items of w_y times the cross-entropy.

    Parameters
    ----------
    logits : Tensor
        B x C.
    labels : Tensor
        B, int64; -1 = unlabelled, which is left out.
    class_weights : Tensor, optional
        C, usually with mean 1 under the training prior (`class_weights.effective_number`).
    label_smoothing : float
        Share of the target spread over all classes, in [0, 1).

    Notes
    -----
    The sum is divided by the number of items and not, as `torch.nn.functional.cross_entropy` does,
    by the sum of their weights: then the gradient of a global batch is the mean of its shards', and
    a batch of rare items alone keeps its larger weight. 0 where no item is labelled.
    """
    each = F.cross_entropy(
        logits.float(),
        labels,
        weight=None if class_weights is None else class_weights.float(),
        reduction="none",
        ignore_index=-1,
        label_smoothing=label_smoothing,
    )
    return each.sum() / (labels >= 0).sum().clamp(min=1)
