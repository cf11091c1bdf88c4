"""Additive attention: exact contributions of each tile to each class."""

import torch
from torch import Tensor, nn

from offsite.training.aggregators.contract import Pooled, RowStream
from offsite.training.aggregators.pooling import GatedAttention
from offsite.training.aggregators.segments import segment_softmax, segment_sum


class AdditiveAttention(GatedAttention):
    """Gated attention whose bag embedding is a sum of transformed instances.

    b = sum_j a_j m(h_j) with an MLP m, so that a linear classifier's logits are the sum of the
    instances': W b = sum_j W a_j m(h_j). After Javed et al. 2022, arXiv 2206.01794, equation 4,
    which has m(a_j h_j): there the biases of m add up over the instances, and a large bag is
    answered differently from a part of it. That, and splitting their function into m and the
    classifier so that contrast can act on the bag embedding, is our construction.

    Parameters
    ----------
    inputs, width, attention_width, dropout
        See `GatedAttention`.
    """

    def __init__(self, inputs: int, width: int, attention_width: int, dropout: float) -> None:
        super().__init__(inputs, width, attention_width, dropout)
        self.additive = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1)."""
        parts, attention = self.parts(rows, offsets)
        return Pooled(segment_sum(parts, offsets), attention)

    def parts(self, rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return each instance's part of its bag's embedding (N x E) and its attention (N).

        A linear classifier's weights times a part is the instance's exact contribution to the
        logits; the bias belongs to no instance.
        """
        hidden, scores = self._scored(rows)
        attention = segment_softmax(scores, offsets)
        return attention[:, None] * self.additive(hidden).float(), attention

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag in two passes: the scores, then the sum of the parts."""
        scores = torch.cat([self._scored(rows)[1].float() for rows in chunks()])
        attention = torch.softmax(scores, dim=0)
        total, start = torch.zeros(self.dimensions, device=scores.device), 0
        for rows in chunks():
            hidden = self.instances(rows)
            total = total + attention[start : start + len(rows)] @ self.additive(hidden).float()
            start += len(rows)
        return Pooled(total[None], attention)
