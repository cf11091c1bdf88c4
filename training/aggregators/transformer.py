"""A TransMIL-style transformer on packed bags: instances see each other through landmarks."""

import torch
from torch import Tensor, nn

from offsite.training.aggregators.contract import Aggregator, Pooled, RowStream, instance_layer

LANDMARKS = 32


class LandmarkTransformer(Aggregator):
    """Two layers of landmark attention and a class token, after TransMIL.

    Shao et al. 2021 (TransMIL, arXiv 2106.00908) let instances attend to each other by Nystrom
    attention. Here each bag is summarised by landmarks that attend to its instances, and its
    instances attend to the landmarks: linear in the bag's size, without padding, and independent of
    the order of the instances, for TransMIL's positional convolution is left out (our construction;
    the two steps are those of the set transformer's induced attention, Lee et al. 2019, arXiv
    1810.00825, equations 9 and 10).

    Parameters
    ----------
    inputs : int
        D of the instances.
    width : int
        E, a multiple of ``heads``.
    dropout : float
        In the instance layer and after each block.
    heads : int
        Attention heads.
    """

    def __init__(self, inputs: int, width: int, dropout: float, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.dimensions, self.heads = width, heads
        self.instances = instance_layer(inputs, width, dropout)
        self.blocks = nn.ModuleList(_LandmarkBlock(width, heads, dropout) for _ in range(2))
        self.token = nn.Parameter(torch.randn(1, width) * 0.02)
        self.pool = _ToSegments(width, heads)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor, offsets: Tensor) -> Pooled:
        """Pool bags (rows N x D, offsets B + 1); attention is the token's, the mean over heads."""
        hidden = self.instances(rows)
        for block in self.blocks:
            hidden = block(hidden, offsets)
        token, weights = self.pool(self.token, self.norm(hidden), offsets)
        return Pooled(token[:, 0].float(), weights)

    def stream(self, chunks: RowStream) -> Pooled:
        """Pool one bag. Its rows are projected in chunks; what is held is N x width.

        Each layer reads what the layer before made of every instance, so more passes would have to
        compute all layers anew for each; the width is small, so the projected rows are kept.
        """
        hidden = torch.cat([self.instances(rows) for rows in chunks()])
        offsets = torch.tensor([0, len(hidden)], device=hidden.device)
        for block in self.blocks:
            hidden = block(hidden, offsets)
        token, weights = self.pool(self.token, self.norm(hidden), offsets)
        return Pooled(token[:, 0].float(), weights)


class _LandmarkBlock(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.landmarks = nn.Parameter(torch.randn(LANDMARKS, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.gather = _ToSegments(width, heads)
        self.spread = _FromSegments(width, heads)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, hidden: Tensor, offsets: Tensor) -> Tensor:
        normed = self.norm(hidden)
        summary, _ = self.gather(self.landmarks, normed, offsets)
        hidden = hidden + self.dropout(self.spread(normed, summary, offsets))
        return hidden + self.dropout(self.mlp(hidden))


class _Attention(nn.Module):
    """What attention of several heads consists of."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)


class _ToSegments(_Attention):
    """L queries, the same for every bag, attend to the bag's instances."""

    def forward(self, queries: Tensor, rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return B x L x E, and each instance's weight (N), the mean over queries and heads."""
        query = _split(self.query(queries), self.heads)
        key, value = _split(self.key(rows), self.heads), _split(self.value(rows), self.heads)
        sizes = (offsets[1:] - offsets[:-1]).tolist()
        pooled, weights = [], []
        # Bag by bag: for all bags at once, N x L x heads scores would be held several times over.
        for k, v in zip(key.split(sizes), value.split(sizes), strict=True):
            scores = torch.einsum("lhd,nhd->lhn", query, k) / query.shape[-1] ** 0.5
            share = torch.softmax(scores.float(), dim=2)
            pooled.append(torch.einsum("lhn,nhd->lhd", share, v.float()))
            weights.append(share.mean(dim=(0, 1)))
        joined = torch.stack(pooled).flatten(2)
        return self.out(joined.to(self.out.weight.dtype)), torch.cat(weights)


class _FromSegments(_Attention):
    """Every instance attends to the L summaries of its bag."""

    def forward(self, rows: Tensor, summary: Tensor, offsets: Tensor) -> Tensor:
        query = _split(self.query(rows), self.heads)
        key, value = _split(self.key(summary), self.heads), _split(self.value(summary), self.heads)
        sizes = (offsets[1:] - offsets[:-1]).tolist()
        scale = query.shape[-1] ** -0.5
        parts = []
        for bag, q in enumerate(query.split(sizes)):
            scores = torch.einsum("nhd,lhd->nhl", q, key[bag]) * scale
            weights = torch.softmax(scores.float(), dim=-1)
            parts.append(torch.einsum("nhl,lhd->nhd", weights.to(value.dtype), value[bag]))
        return self.out(torch.cat(parts).flatten(1))


def _split(rows: Tensor, heads: int) -> Tensor:
    return rows.unflatten(-1, (heads, -1))
