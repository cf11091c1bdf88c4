"""P x K batches: several items of each class in every batch, so that a rare class has partners."""

import math
from typing import Any

import numpy as np

from preprocessing.errors import InputError
from training.randomness import generator
from training.samplers.plans import Indices, check_sizes


class ClassAwareBatches:
    """Batches with at least ``per_class`` items of each of P classes, the rest by ``exponent``.

    Parameters
    ----------
    labels : array
        N, the class (or any other grouping key) of each item; integers below 0 = never drawn.
    batch_size : int
        Items in a batch, at least ``per_class``.
    seed : int
        Seed of the draws.
    per_class : int
        K, the fewest items of a class that a batch holds. P is all classes where they fit
        (``batch_size // per_class``), else as many as fit, taken in turn in random order.
    exponent : float
        q in [0, 1]: the places left over go to the batch's classes in proportion to n_c^q;
        0 = equally (balanced batches), 1 = as they come.
    epoch_size : int, optional
        Draws in an epoch; by default the number of items.
    repeats_within_batch : bool
        Whether an item may stand in a batch twice where its class has fewer than its places. Two
        draws of one bag are two views of it; without views the pair would be trivial. By default
        no: such a class gives all its items, and other classes take its places.

    Notes
    -----
    Each class is gone through in random cycles: no item comes again before all of its class have.
    """

    def __init__(
        self,
        labels: Any,
        batch_size: int,
        seed: int = 0,
        *,
        per_class: int = 2,
        exponent: float = 0.0,
        epoch_size: int | None = None,
        repeats_within_batch: bool = False,
    ) -> None:
        keys = np.asarray(labels)
        drawn = np.flatnonzero(keys >= 0) if keys.dtype.kind in "iuf" else np.arange(len(keys))
        check_sizes(len(drawn), batch_size)
        if not 1 <= per_class <= batch_size:
            raise InputError(
                f"{per_class} items of a class do not fit a batch of {batch_size}",
                remedy="Raise batch_size or lower per_class",
                code="batch_size",
            )
        _, cell = np.unique(keys[drawn], return_inverse=True)
        self.members = [drawn[cell == c] for c in range(cell.max() + 1)]
        self.batch_size, self.per_class, self.exponent = batch_size, per_class, exponent
        self.seed, self.repeats = seed, repeats_within_batch
        self.epoch_size = epoch_size or len(drawn)

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(self.epoch_size / self.batch_size)

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch; each is in random order, so shards mix the classes."""
        rng = generator(self.seed, epoch)
        cycles = [_Cycle(members, rng) for members in self.members]
        turns = _Cycle(np.arange(len(cycles)), rng)
        fit = min(len(cycles), self.batch_size // self.per_class)
        batches = []
        for size in self._sizes(epoch):
            present = turns.take(fit)
            places = self._places(present, size, rng)
            taken = [cycles[c].take(n) for c, n in zip(present, places, strict=True)]
            batches.append(rng.permutation(np.concatenate(taken)))
        return batches

    def _sizes(self, epoch: int) -> list[int]:
        parts = np.array_split(np.arange(self.epoch_size), self.steps(epoch))
        fewest = min(len(self.members), self.batch_size // self.per_class) * self.per_class
        return [max(len(part), fewest) for part in parts]

    def _places(self, present: Indices, size: int, rng: np.random.Generator) -> Indices:
        """Return how many items each present class gives to a batch of ``size``."""
        counts = np.array([len(self.members[c]) for c in present])
        most = np.full(len(counts), size) if self.repeats else counts
        places = np.minimum(self.per_class, most)
        weights = counts.astype(float) ** self.exponent
        while (left := size - places.sum()) > 0 and (open_ := places < most).any():
            share = np.where(open_, weights, 0.0)
            places = np.minimum(places + dithered(share / share.sum(), int(left), rng), most)
        return places


class _Cycle:
    """Items in random cycles; what is taken at once holds no item twice where it need not."""

    def __init__(self, items: Indices, rng: np.random.Generator) -> None:
        self.items, self.rng = items, rng
        self.left = rng.permutation(items)

    def take(self, n: int) -> Indices:
        taken = self.left[:n]
        self.left = self.left[n:]
        while len(taken) < n:
            fresh = self.rng.permutation(self.items)
            again = np.isin(fresh, taken)
            self.left = np.concatenate([fresh[~again], fresh[again]])
            more = n - len(taken)
            taken = np.concatenate([taken, self.left[:more]])
            self.left = self.left[more:]
        return taken


def dithered(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Round ``n * shares`` to integers that sum to n, each up or down, right on average.

    Systematic sampling: one uniform offset serves all cells, so no cell is off by one or more.
    """
    # The cells are shuffled so that the rounding of neighbours is not tied to their order.
    order = rng.permutation(len(shares))
    edges = np.cumsum(shares[order]) * n
    edges[-1] = n
    bounds = np.floor(np.concatenate([[0.0], edges]) + rng.random()).astype(np.int64)
    counts = np.empty(len(shares), dtype=np.int64)
    counts[order] = np.diff(bounds)
    return counts
