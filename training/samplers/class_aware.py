"""P x K batches: several items of each class in every batch, so that a rare class has partners."""

import math
from typing import Any

import numpy as np

from offsite.errors import InputError
from offsite.training.randomness import generator
from offsite.training.samplers.draws import Cycle, SpreadCycle, dithered
from offsite.training.samplers.plans import Indices, check_sizes


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
    sites : array, optional
        N. Given, a class's items in a batch come from its sites in turn, so that positives cross
        sites wherever a class has more than one. Small sites are then drawn more often.

    Notes
    -----
    Each class is gone through in random cycles: no item comes again before all of its class have.

    Examples
    --------
    >>> labels = np.array([0] * 20 + [1] * 4)
    >>> plan = ClassAwareBatches(labels, 8, 0)
    >>> min(int(np.bincount(labels[batch], minlength=2).min()) for batch in plan.batches(0))
    4
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
        sites: Any = None,
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
        self.sites = None if sites is None else np.asarray(sites)
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
        cycles = [self._cycle(members, rng) for members in self.members]
        turns = Cycle(np.arange(len(cycles)), rng)
        fit = min(len(cycles), self.batch_size // self.per_class)
        batches = []
        for size in self._sizes(epoch):
            present = turns.take(fit)
            places = self._places(present, size, rng)
            taken = [cycles[c].take(n) for c, n in zip(present, places, strict=True)]
            batches.append(rng.permutation(np.concatenate(taken)))
        return batches

    def _cycle(self, members: Indices, rng: np.random.Generator) -> Cycle | SpreadCycle:
        if self.sites is None:
            return Cycle(members, rng)
        return SpreadCycle(members, self.sites[members], rng)

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
