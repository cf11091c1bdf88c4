"""Dual-stream multiple-instance learning: every instance is compared with the critical one."""

import torch
from torch import Tensor, nn

from offsite.training.aggregators.contract import Aggregator, Pooled, RowStream, instance_layer
from offsite.training.aggregators.segments import segment_index, segment_softmax, segment_sum


class DualStream(Aggregator):
    """DSMIL (Li, Li & Eliceiri 2021, arXiv 2011.08939, equations 1 to 6) on packed bags.

    For each class the instance of the highest score is critical; the others are weighed by the
    similarity of their query to its query. The bag embedding joins the classes' pooled values by a
    linear layer, and the score of the critical instance is added to it through the same layer
    instead of to the logits, so that one classifier reads the embedding (our construction).

    Parameters
    ----------
    inputs : int
        D of the instances.
    width : int
        E of the bag embedding.
    attention_width : int
        Width of the queries.
    dropout : float
        In the instance layer.
    n_classes : int
        C, streams of critical instances.
    """

    def __init__(
        self, inputs: int, width: int, attention_width: int, dropout: float, n_classes: int
    ) -> None:
        super().__init__()
        self.dimensions, self.n_classes = width, n_classes
        self.instances = instance_layer(inputs, width, dropout)
        self.instance_score = nn.Linear(width, n_classes)
        self.query = nn.Sequential(nn.Linear(width, attention_width), nn.Tanh())
        self.value = nn.Linear(width, width)
        self.join = nn.Linear(n_classes * width + n_classes, width)
        self.temperature = attention_width**0.5

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1); attention is the mean over the classes."""
        hidden = self.instances(rows)
        scores = self.instance_score(hidden)
        critical = _critical(scores, offsets)
        top = scores.gather(0, critical)
        queries = self.query(hidden)
        wanted = queries[critical]  # B x C x Q
        likeness = torch.einsum("nq,ncq->nc", queries, wanted[segment_index(offsets)])
        attention = segment_softmax(likeness / self.temperature, offsets)
        pooled = segment_sum(attention[:, :, None] * self.value(hidden)[:, None, :], offsets)
        return Pooled(self._joined(pooled, top), attention.mean(dim=1))

    def _joined(self, pooled: Tensor, top: Tensor) -> Tensor:
        both = torch.cat([pooled.flatten(1), top.float()], dim=1)
        return torch.relu(self.join(both.to(self.join.weight.dtype)))

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag in three passes: critical instances, attention, weighted sum."""
        top: Tensor | None = None
        wanted: Tensor | None = None
        for rows in chunks():
            hidden = self.instances(rows)
            best, where = self.instance_score(hidden).max(dim=0)
            queries = self.query(hidden[where])
            if top is None or wanted is None:
                top, wanted = best, queries
                continue
            wanted = torch.where((best > top)[:, None], queries, wanted)
            top = torch.maximum(best, top)
        if top is None or wanted is None:
            raise ValueError("a bag needs instances")
        likeness = [self.query(self.instances(rows)) @ wanted.T for rows in chunks()]
        attention = torch.softmax(torch.cat(likeness).float() / self.temperature, dim=0)
        total, start = top.new_zeros((self.n_classes, self.dimensions)), 0
        for rows in chunks():
            value = self.value(self.instances(rows)).float()
            total = total + attention[start : start + len(rows)].T @ value
            start += len(rows)
        return Pooled(self._joined(total[None], top[None]), attention.mean(dim=1))


@torch.no_grad()
def _critical(scores: Tensor, offsets: Tensor) -> Tensor:
    """Return the row of the highest score of each bag and class (B x C), the first of equals."""
    index = segment_index(offsets)
    bags, classes = len(offsets) - 1, scores.shape[1]
    spread = index[:, None].expand_as(scores)
    highest = scores.new_full((bags, classes), -torch.inf)
    highest = highest.scatter_reduce(0, spread, scores, "amax")
    rows = torch.arange(len(scores), device=scores.device)[:, None].expand_as(scores)
    holds = torch.where(scores == highest[index], rows, len(scores))
    first = torch.full((bags, classes), len(scores), device=scores.device)
    return first.scatter_reduce(0, spread, holds, "amin")
