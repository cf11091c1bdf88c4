"""A linear head on the mean of a slide's tile features: what any attention has to beat."""

import numpy as np
import torch
from torch import Tensor, nn

from offsite.pathology.bags import Bags
from offsite.training.aggregators.contract import Aggregator, Pooled, RowStream
from offsite.training.aggregators.segments import segment_mean
from offsite.training.algorithm import Output


class PlainMean(Aggregator):
    """The mean of the instances as they are, each with the same weight.

    Examples
    --------
    >>> pooled = PlainMean(2)(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.tensor([0, 2, 3]))
    >>> pooled.embedding.tolist(), pooled.attention.tolist()
    ([[2.0, 3.0], [5.0, 6.0]], [0.5, 0.5, 1.0])
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.dimensions = inputs

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1)."""
        sizes = offsets[1:] - offsets[:-1]
        weights = torch.repeat_interleave(1.0 / sizes.float(), sizes)
        return Pooled(segment_mean(rows, offsets), weights)

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag in one pass."""
        parts = [(rows.float().sum(dim=0), len(rows)) for rows in chunks()]
        count = sum(n for _, n in parts)
        mean = torch.stack([total for total, _ in parts]).sum(dim=0) / count
        return Pooled(mean[None], torch.full((count,), 1.0 / count, device=mean.device))


class LinearSlides(nn.Module):
    """Logits of a linear head on the mean tile features, which are the embedding.

    Parameters
    ----------
    dimensions, n_classes : int
        D of the tile features, and C.
    """

    centre: Tensor

    def __init__(self, dimensions: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        # Nothing is shifted: it says how wide the features are, and where the network lies.
        self.register_buffer("centre", torch.zeros(dimensions))
        self.aggregator = PlainMean(dimensions)
        self.classifier = nn.Linear(dimensions, n_classes)

    def instances(self, rows: Tensor) -> Tensor:
        """Return the instances as they are."""
        return rows

    def forward(self, batch: Bags) -> Output:
        """Return logits and embedding of a batch of bags."""
        pooled = self.aggregator(self.instances(batch.rows), batch.offsets)
        return Output(self.classifier(pooled.embedding), pooled.embedding)

    def set_head(self, slopes: np.ndarray, starts: np.ndarray) -> None:
        """Take fitted logits: coefficients (D x C) and what is added (C)."""
        with torch.no_grad():
            self.classifier.weight.copy_(torch.from_numpy(slopes.T).float())
            self.classifier.bias.copy_(torch.from_numpy(starts).float())
