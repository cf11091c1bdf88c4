"""Sums, maxima and softmaxes over the bags of a packed batch, in float32 also under autocast."""

import torch
import torch.nn.functional as F
from torch import Tensor


def segment_index(offsets: Tensor) -> Tensor:
    """Return the bag of each row (N, int64).

    Examples
    --------
    >>> segment_index(torch.tensor([0, 2, 5])).tolist()
    [0, 0, 1, 1, 1]
    """
    sizes = offsets[1:] - offsets[:-1]
    return torch.repeat_interleave(torch.arange(len(sizes), device=offsets.device), sizes)


def segment_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the sum over each bag (B x ...) of ``values`` (N x ...), accumulated in float32."""
    wide = values.float()
    out = wide.new_zeros((len(offsets) - 1, *values.shape[1:]))
    return out.index_add(0, segment_index(offsets), wide)


def segment_weighted_sum(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """Return the sum over each bag (B x E) of ``weights`` (N) times ``values`` (N x E).

    An embedding bag is this sum, and never holds the N x E products.
    """
    rows = torch.arange(len(values), device=values.device)
    return F.embedding_bag(
        rows,
        values.float(),
        offsets,
        mode="sum",
        per_sample_weights=weights.float(),
        include_last_offset=True,
    )


def segment_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the mean over each bag; bags are not empty."""
    sizes = (offsets[1:] - offsets[:-1]).float()
    return segment_sum(values, offsets) / sizes.reshape(-1, *[1] * (values.ndim - 1))


def segment_max(values: Tensor, offsets: Tensor) -> Tensor:
    """Return the maximum over each bag (B x ...)."""
    index = segment_index(offsets).reshape(-1, *[1] * (values.ndim - 1)).expand_as(values)
    out = values.new_full((len(offsets) - 1, *values.shape[1:]), -torch.inf)
    return out.scatter_reduce(0, index, values, "amax")


def segment_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """Return the softmax of ``scores`` (N or N x H) over each bag, float32.

    The maximum of each bag is taken off first, so large scores do not overflow.
    """
    values = scores.float()
    index = segment_index(offsets)
    with torch.no_grad():
        highest = segment_max(values, offsets)
    weights = torch.exp(values - highest[index])
    return weights / segment_sum(weights, offsets)[index]
