"""A linear head learnt in rounds, each against what earlier rounds get right and wrong.

Rich features after Bonsai (Zhang, Lopez-Paz and Bottou 2022, arXiv 2203.15516, algorithm 1), on features
that are given: round 0 is plain training; each later round minimises the *largest* of the losses over
the rows that an earlier round gets right and over those that it gets wrong, and is kept at its least loss
on rows that no round learns from. That the rounds' logits are averaged, so that they are one linear
head, is our construction.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offsite.training.heads.rounds_settings import RichSettings

FEWEST = 4
"""Rows of a batch that a group must have: the loss of fewer says nothing."""


@dataclass(frozen=True, eq=False)
class Rounds:
    """A head learnt in rounds.

    Attributes
    ----------
    slopes, starts : numpy.ndarray
        D x C and C, float64: the mean logits of the rounds for a row x are ``x @ slopes + starts``.
    losses : list of float
        Of each round on the rows kept back, mean cross-entropy (nats); of the training rows without any.
    """

    slopes: np.ndarray
    starts: np.ndarray
    losses: list[float]


def fit_rounds(
    rows: np.ndarray,
    labels: np.ndarray,
    kept_back: tuple[np.ndarray, np.ndarray],
    settings: RichSettings,
    *,
    n_classes: int,
    seed: int,
) -> Rounds:
    """Learn a head; the same rows and seed give the same numbers.

    Parameters
    ----------
    rows, labels : numpy.ndarray
        N x D and N, int in 0..C-1.
    kept_back : tuple
        The same of rows that stop the later rounds; without any their last pass is kept.

    Examples
    --------
    >>> rows = np.repeat([[0.0], [1.0]], 20, axis=0)
    >>> labels = np.repeat([0, 1], 20)
    >>> settings = RichSettings(passes=100, learning_rate=0.05)
    >>> head = fit_rounds(rows, labels, (rows, labels), settings, n_classes=2, seed=0)
    >>> (rows @ head.slopes + head.starts).argmax(axis=1).tolist() == labels.tolist()
    True
    """
    centre, scale = standardisation(rows)
    seen, known = _tensors((rows - centre) / scale, labels)
    held = _tensors((kept_back[0] - centre) / scale, kept_back[1]) if len(kept_back[1]) else None
    heads: list[nn.Linear] = []
    for number in range(settings.rounds):
        with torch.no_grad():
            right = [head(seen).argmax(1) == known for head in heads]
        groups = torch.stack([*right, *(~one for one in right)]) if heads else None
        stop = held if heads else None
        heads.append(_round(seen, known, groups, stop, settings, n_classes, seed + number))
    judged, truth = held or (seen, known)
    with torch.no_grad():
        losses = [float(F.cross_entropy(head(judged), truth)) for head in heads]
        weight = torch.stack([head.weight.double() for head in heads]).mean(0).numpy()
        bias = torch.stack([head.bias.double() for head in heads]).mean(0).numpy()
    slopes = weight.T / scale[:, None]
    return Rounds(slopes, bias - centre @ slopes, losses)


def standardisation(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is taken off features (D) and what they are divided by (D, > 0).

    Features that hardly vary are divided by a tenth of the median deviation.
    """
    centre, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    least = 0.1 * np.median(scale)
    return centre, np.maximum(scale, least if least > 0 else 1.0)


def passes(n: int, batch: int, count: int, seed: int) -> Iterator[Tensor]:
    """Yield the rows of each step: every row once a pass, in another order each time."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield from torch.randperm(n, generator=generator).split(batch)


def _round(
    rows: Tensor,
    labels: Tensor,
    groups: Tensor | None,
    held: tuple[Tensor, Tensor] | None,
    settings: RichSettings,
    n_classes: int,
    seed: int,
) -> nn.Linear:
    """Train one head; ``groups`` (G x N booleans) are those whose largest loss it minimises."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(rows.shape[1], n_classes)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = -(-len(labels) // settings.batch_size)
    best, kept = float("inf"), {}
    for done, part in enumerate(passes(len(labels), settings.batch_size, settings.passes, seed), 1):
        each = F.cross_entropy(head(rows[part]), labels[part], reduction="none")
        loss = each.mean() if groups is None else _largest(each, groups[:, part])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if held is None or done % steps:
            continue
        with torch.no_grad():
            now = float(F.cross_entropy(head(held[0]), held[1]))
        if now < best:
            best, kept = now, {name: value.clone() for name, value in head.state_dict().items()}
    if kept:
        head.load_state_dict(kept)
    return head


def _largest(each: Tensor, groups: Tensor) -> Tensor:
    """The largest mean loss over groups (G x B booleans) of enough rows; of none the mean of all."""
    inside = groups[groups.sum(1) >= FEWEST]
    if not len(inside):
        return each.mean()
    return ((inside * each).sum(1) / inside.sum(1)).max()


def _tensors(rows: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rows).float(), torch.from_numpy(np.asarray(labels, np.int64))
