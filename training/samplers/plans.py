"""What a sampler is, and the plainest one: every item once, in random order."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from offsite.errors import InputError
from offsite.training.devices import distributed
from offsite.training.randomness import generator

Indices = np.ndarray  # int64: positions of items in the training table, B or (of pairs) B x 2


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

    Examples
    --------
    >>> plan = RandomBatches(5, batch_size=2, seed=0)
    >>> [len(batch) for batch in plan.batches(epoch=0)]
    [2, 2, 1]
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
    """A batch source for `offsite.training.fit.loop.fit`: a plan, and a function that loads the items.

    Parameters
    ----------
    plan : BatchPlan
        The global batches; each rank loads its shard alone.
    load : callable
        ``load(indices, epoch, times)`` returns a batch; ``times`` (int64, shaped as indices) says
        how often each item was drawn before in the epoch, by any rank. Pure, so that a resumed
        run sees the same.
    """

    def __init__(self, plan: BatchPlan, load: Callable[[Indices, int, Indices], Any]) -> None:
        self.plan, self.load = plan, load

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return self.plan.steps(epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield this rank's batches of an epoch from number ``start`` on."""
        planned = self.plan.batches(epoch)
        times = times_drawn(planned)
        end = 0
        for number, indices in enumerate(planned):
            first, end = end, end + len(indices)
            if number < start:
                continue
            mine = distributed.shard(indices)
            if len(mine) == 0:
                raise InputError(
                    f"a batch of {len(indices)} items leaves a process without one",
                    remedy="Use fewer processes or larger batches",
                    code="batch_too_small",
                )
            yield self.load(mine, epoch, distributed.shard(times[first:end]))


class TwoPlans:
    """One plan up to an epoch, another from it on."""

    def __init__(self, first: BatchPlan, second: BatchPlan, from_epoch: int) -> None:
        self.first, self.second, self.from_epoch = first, second, from_epoch

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return self._of(epoch).steps(epoch)

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch."""
        return self._of(epoch).batches(epoch)

    def _of(self, epoch: int) -> BatchPlan:
        return self.first if epoch < self.from_epoch else self.second


class Passes:
    """Several epochs of a plan as one, so that an epoch over few items still has some steps.

    Examples
    --------
    >>> plan = Passes(RandomBatches(4, batch_size=2), 3)
    >>> plan.steps(0), [sorted(np.concatenate(plan.batches(0)[i : i + 2])) for i in (0, 2, 4)] == [[0, 1, 2, 3]] * 3
    (6, True)
    """

    def __init__(self, plan: BatchPlan, passes: int) -> None:
        self.plan, self.passes = plan, passes

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return sum(map(self.plan.steps, self._of(epoch)))

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch."""
        return [batch for each in self._of(epoch) for batch in self.plan.batches(each)]

    def _of(self, epoch: int) -> range:
        return range(epoch * self.passes, (epoch + 1) * self.passes)


def times_drawn(batches: Sequence[Indices]) -> Indices:
    """Return for each position in the batches of an epoch how often its item came before.

    Of pairs (batches of B x 2) the anchors, in the first column, count among themselves, so that
    they are drawn as they would be without partners. Partners go on counting where the anchors of
    the epoch end; one that is its pair's anchor has the anchor's count.

    >>> times_drawn([np.array([4, 7]), np.array([7, 7, 4])])
    array([0, 0, 1, 2, 1])
    >>> times_drawn([np.array([[4, 7], [4, 4]]), np.array([[7, 4]])])
    array([[0, 1],
           [1, 1],
           [0, 2]])
    """
    draws = np.concatenate(batches)
    if draws.ndim == 1:
        times = _times_before(draws)
    else:
        anchors, itself = len(draws), draws[:, 0] == draws[:, 1]
        counted = _times_before(np.concatenate([draws[:, 0], draws[~itself, 1]]))
        times = np.stack([counted[:anchors], counted[:anchors]], axis=1)
        times[~itself, 1] = counted[anchors:]
    return times


def _times_before(items: Indices) -> Indices:
    """Return for each item of a sequence how often it stood before."""
    order = np.argsort(items, kind="stable")
    counts = np.unique(items, return_counts=True)[1]
    times = np.empty(len(items), dtype=np.int64)
    times[order] = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
    return times


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
