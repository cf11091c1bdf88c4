"""What every aggregator offers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

RowStream = Callable[[], Iterable[Tensor]]
"""Gives the rows of one bag in chunks (n x D), anew at each call."""


@dataclass(frozen=True)
class Pooled:
    """What an aggregator makes of a batch.

    Attributes
    ----------
    embedding : Tensor
        B x E, one row per bag.
    attention : Tensor
        N, float32: the weight of each instance in its bag; each bag's sum to 1.
    """

    embedding: Tensor
    attention: Tensor


class Aggregator(nn.Module):
    """Pools packed bags; ``dimensions`` is E."""

    dimensions: int

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1)."""
        raise NotImplementedError

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag that is too large to be held at once, going through it several times.

        The result is that of ``forward`` on the whole bag, up to rounding.
        """
        raise NotImplementedError


def instance_layer(inputs: int, width: int, dropout: float) -> nn.Sequential:
    """Return the layer that every aggregator applies to each instance: linear, ReLU, dropout."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(inplace=True), nn.Dropout(dropout))
