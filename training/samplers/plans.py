"""What a sampler is, and the plainest one: every item once, in random order."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from preprocessing.errors import InputError
from training import distributed
from training.randomness import generator

Indices = np.ndarray  # int64, one axis: positions of items in the training table


class BatchPlan(Protocol):
    """The batches of an epoch, global over all ranks; a pure function of the epoch."""

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch."""


class RandomBatches:
    """Every item once an epoch, in random order.

    Parameters
    ----------
    n_items : int
        Number of items.
    batch_size : int
        Largest batch. Batches are of nearly equal size, so none is a runt that a contrastive loss
        or a rank could not use.
    seed : int
        Seed of the order.
    """

    def __init__(self, n_items: int, batch_size: int, seed: int = 0) -> None:
        check_sizes(n_items, batch_size)
        self.n_items, self.batch_size, self.seed = n_items, batch_size, seed

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(self.n_items / self.batch_size)

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch."""
        order = generator(self.seed, epoch).permutation(self.n_items)
        return np.array_split(order, self.steps(epoch))


class PlannedSource:
    """A batch source for `training.fitting.fit`: a plan, and a function that loads the items.

    Parameters
    ----------
    plan : BatchPlan
        The global batches; each rank loads its shard alone.
    load : callable
        ``load(indices, epoch)`` returns a batch; pure, so that a resumed run sees the same.
    """

    def __init__(self, plan: BatchPlan, load: Callable[[Indices, int], Any]) -> None:
        self.plan, self.load = plan, load

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return self.plan.steps(epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield this rank's batches of an epoch from number ``start`` on."""
        for indices in self.plan.batches(epoch)[start:]:
            mine = distributed.shard(indices)
            if len(mine) == 0:
                raise InputError(
                    f"a batch of {len(indices)} items leaves a process without one",
                    remedy="Use fewer processes or larger batches",
                    code="batch_too_small",
                )
            yield self.load(mine, epoch)


def check_sizes(n_items: int, batch_size: int) -> None:
    """Refuse an empty table and a batch size below 1.

    Raises
    ------
    InputError
        Code ``no_items`` or ``batch_size``.
    """
    if n_items < 1:
        raise InputError(
            "there is no item to draw", remedy="Give labelled training items", code="no_items"
        )
    if batch_size < 1:
        raise InputError(
            f"batch_size is {batch_size}", remedy="Set it to 1 or more", code="batch_size"
        )
