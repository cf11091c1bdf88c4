"""Aggregators that weigh each instance by itself: mean, maximum and gated attention."""

import torch
from torch import Tensor, nn

from offsite.training.aggregators.contract import Aggregator, Pooled, RowStream, instance_layer
from offsite.training.aggregators.segments import (
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    segment_weighted_sum,
)


class GatedAttention(Aggregator):
    """Gated attention: b = sum_j a_j h_j with a = softmax(w^T (tanh(V h) * sigmoid(U h))).

    Ilse et al. 2018, arXiv 1802.04712, equations 7 and 9.

    Parameters
    ----------
    inputs : int
        D of the instances.
    width : int
        E, width of the instance layer and of the bag embedding.
    attention_width : int
        Width of V and U.
    dropout : float
        In the instance layer and the attention.
    """

    def __init__(self, inputs: int, width: int, attention_width: int, dropout: float) -> None:
        super().__init__()
        self.dimensions = width
        self.instances = instance_layer(inputs, width, dropout)
        self.tanh = nn.Sequential(nn.Linear(width, attention_width), nn.Tanh(), nn.Dropout(dropout))
        self.gate = nn.Sequential(
            nn.Linear(width, attention_width), nn.Sigmoid(), nn.Dropout(dropout)
        )
        self.score = nn.Linear(attention_width, 1)

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1)."""
        hidden, scores = self._scored(rows)
        attention = segment_softmax(scores, offsets)
        return Pooled(segment_weighted_sum(attention, hidden, offsets), attention)

    def _scored(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.instances(rows)
        return hidden, self.score(self.tanh(hidden) * self.gate(hidden))[:, 0]

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag in two passes: the scores, then the weighted sum."""
        scores = torch.cat([self._scored(rows)[1].float() for rows in chunks()])
        attention = torch.softmax(scores, dim=0)
        total, start = torch.zeros(self.dimensions, device=scores.device), 0
        for rows in chunks():
            hidden = self.instances(rows).float()
            total = total + attention[start : start + len(rows)] @ hidden
            start += len(rows)
        return Pooled(total[None], attention)


class MeanPooling(Aggregator):
    """The mean of the instances: the control that any attention has to beat."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dimensions = width
        self.instances = instance_layer(inputs, width, dropout)

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1); every instance has the same weight."""
        embedding = segment_mean(self.instances(rows), offsets)
        sizes = offsets[1:] - offsets[:-1]
        return Pooled(embedding, torch.repeat_interleave(1.0 / sizes.float(), sizes))

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag in one pass."""
        total, count = torch.zeros(self.dimensions), 0
        for rows in chunks():
            total = total.to(rows.device) + self.instances(rows).float().sum(dim=0)
            count += len(rows)
        return Pooled((total / count)[None], torch.full((count,), 1.0 / count, device=total.device))


class MaxPooling(Aggregator):
    """The maximum of each feature over the instances.

    An instance's attention is the share of features whose maximum it holds (our construction).
    """

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dimensions = width
        self.instances = instance_layer(inputs, width, dropout)

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1)."""
        hidden = self.instances(rows).float()
        highest = segment_max(hidden, offsets)
        sizes = offsets[1:] - offsets[:-1]
        with torch.no_grad():
            holds = (hidden == torch.repeat_interleave(highest, sizes, dim=0)).float()
            ties = torch.repeat_interleave(segment_sum(holds, offsets), sizes, dim=0)
            attention = (holds / ties).mean(dim=1)
        return Pooled(highest, attention)

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag in two passes: the maximum and how many hold it, then the shares."""
        highest: Tensor | None = None
        ties: Tensor | None = None
        for rows in chunks():
            hidden = self.instances(rows).float()
            top = hidden.amax(dim=0)
            held = (hidden == top).float().sum(dim=0)
            if highest is None or ties is None:
                highest, ties = top, held
                continue
            ties = torch.where(top > highest, held, torch.where(top == highest, ties + held, ties))
            highest = torch.maximum(highest, top)
        if highest is None or ties is None:
            raise ValueError("a bag needs instances")
        shares = [
            ((self.instances(rows).float() == highest).float() / ties).mean(dim=1)
            for rows in chunks()
        ]
        return Pooled(highest[None], torch.cat(shares))
