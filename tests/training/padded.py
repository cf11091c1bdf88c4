"""The aggregators a second time, as most code has them: bags padded to the longest, and a mask.

Written against the formulas, with the weights of the packed aggregators and none of their code.
"""

import torch
import torch.nn.functional as F


def pad(bags):
    """Return bags x longest x D, filled with numbers that no result may depend on, and the mask."""
    longest = max(map(len, bags))
    rows = torch.full((len(bags), longest, bags[0].shape[1]), 7.0)
    mask = torch.zeros(len(bags), longest, dtype=torch.bool)
    for number, bag in enumerate(bags):
        rows[number, : len(bag)] = torch.as_tensor(bag)
        mask[number, : len(bag)] = True
    return rows, mask


def pool(name, aggregator, rows, mask):
    """Return embeddings (bags x E) and weights of instances (bags x longest)."""
    weights = dict(aggregator.named_parameters())
    hidden = torch.relu(_linear(weights, "instances.0", rows))
    if name == "transformer":
        return _transformer(weights, hidden, mask, aggregator.heads)
    return _POOLINGS[name](weights, hidden, mask)


def _linear(weights, name, rows):
    return F.linear(rows, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _softmax(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=1)


def _mean(weights, hidden, mask):
    share = mask / mask.sum(dim=1, keepdim=True)
    return (share[..., None] * hidden).sum(dim=1), share


def _max(weights, hidden, mask):
    hidden = hidden.masked_fill(~mask[..., None], -torch.inf)
    highest = hidden.max(dim=1, keepdim=True).values
    holds = (hidden == highest).float()
    return highest[:, 0], (holds / holds.sum(dim=1, keepdim=True)).mean(dim=2)


def _gate(weights, hidden, mask):
    tanh = torch.tanh(_linear(weights, "tanh.0", hidden))
    gate = torch.sigmoid(_linear(weights, "gate.0", hidden))
    return _softmax(_linear(weights, "score", tanh * gate)[..., 0], mask)


def _gated(weights, hidden, mask):
    attention = _gate(weights, hidden, mask)
    return torch.bmm(attention[:, None], hidden)[:, 0], attention


def _additive(weights, hidden, mask):
    attention = _gate(weights, hidden, mask)
    inner = torch.relu(_linear(weights, "additive.0", hidden))
    return torch.bmm(attention[:, None], _linear(weights, "additive.2", inner))[:, 0], attention


def _dual_stream(weights, hidden, mask):
    scores = _linear(weights, "instance_score", hidden).masked_fill(~mask[..., None], -torch.inf)
    top, critical = scores.max(dim=1)  # bags x classes
    queries = torch.tanh(_linear(weights, "query.0", hidden))
    wanted = torch.stack([queries[bag, which] for bag, which in enumerate(critical)])
    likeness = queries @ wanted.transpose(1, 2) / queries.shape[-1] ** 0.5
    attention = _softmax(likeness, mask[..., None])
    streams = attention.transpose(1, 2) @ _linear(weights, "value", hidden)
    joined = torch.relu(_linear(weights, "join", torch.cat([streams.flatten(1), top], dim=1)))
    return joined, attention.mean(dim=2)


def _transformer(weights, hidden, mask, heads):
    for block in ("blocks.0", "blocks.1"):
        normed = _norm(weights, f"{block}.norm", hidden)
        landmarks = weights[f"{block}.landmarks"].expand(len(hidden), -1, -1)
        seen, _ = _attend(weights, f"{block}.gather", landmarks, normed, heads, mask)
        hidden = hidden + _attend(weights, f"{block}.spread", normed, seen, heads)[0]
        inner = F.gelu(_linear(weights, f"{block}.mlp.1", _norm(weights, f"{block}.mlp.0", hidden)))
        hidden = hidden + _linear(weights, f"{block}.mlp.4", inner)
    token = weights["token"].expand(len(hidden), -1, -1)
    normed = _norm(weights, "norm", hidden)
    embedding, shares = _attend(weights, "pool", token, normed, heads, mask)
    return embedding[:, 0], shares[:, 0]


def _norm(weights, name, rows):
    return F.layer_norm(rows, rows.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def _attend(weights, name, queries, rows, heads, mask=None):
    """Torch's own multi-head attention, which knows masks."""
    parts = [f"{name}.{part}" for part in ("query", "key", "value")]
    out, shares = F.multi_head_attention_forward(
        queries.transpose(0, 1), rows.transpose(0, 1), rows.transpose(0, 1), rows.shape[-1], heads,
        torch.cat([weights[f"{part}.weight"] for part in parts]),
        torch.cat([weights[f"{part}.bias"] for part in parts]),
        None, None, False, 0.0, weights[f"{name}.out.weight"], weights[f"{name}.out.bias"],
        training=False, key_padding_mask=None if mask is None else ~mask,
    )  # fmt: skip
    return out.transpose(0, 1), shares


_POOLINGS = {
    "mean": _mean, "max": _max, "gated_attention": _gated, "additive_attention": _additive,
    "dual_stream": _dual_stream,
}  # fmt: skip
