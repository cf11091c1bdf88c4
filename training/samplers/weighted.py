"""Batches whose cells (classes, sites, site x class, ...) come at set shares."""

import math
from typing import Any

import numpy as np

from offsite.training.randomness import generator
from offsite.training.samplers.draws import dithered, spread
from offsite.training.samplers.plans import Indices, check_sizes
from offsite.training.samplers.shares import Rule, cell_shares


class WeightedBatches:
    """Items drawn so that each cell gets its share, none more often than it must.

    Within a cell items are equally likely. An item with an expected number m of draws in an epoch
    is drawn floor(m) or ceil(m) times, so with ``exponent`` 1 every item comes once, and balanced
    draws leave no majority item out because another came twice. Copies are spread over the epoch.

    Parameters
    ----------
    cells : array
        N, the cell of each item (`shares.cells_of`); integers below 0 = never drawn.
    batch_size : int
        Largest batch; batches are of nearly equal size.
    seed : int
        Seed of the draws.
    rule, exponent, beta : optional
        See `shares.cell_shares`.
    epochs : int
        Epochs of the run, over which ``progressive`` moves.
    epoch_size : int, optional
        Draws in an epoch; by default the number of items (of patients, where they are given).
    patients : array, optional
        N. Given, an epoch starts from one item of each patient, drawn anew each epoch, so that a
        patient with many images weighs no more than one with few. Further draws of a patient take
        its other items of the same cell first.

    Examples
    --------
    >>> labels = np.array([0] * 90 + [1] * 10)
    >>> plan = WeightedBatches(labels, batch_size=20, seed=0, exponent=0.0)
    >>> np.bincount(labels[np.concatenate(plan.batches(epoch=0))]).tolist()
    [50, 50]
    """

    def __init__(
        self,
        cells: Any,
        batch_size: int,
        seed: int = 0,
        *,
        rule: Rule = "power",
        exponent: float = 1.0,
        beta: float = 0.999,
        epochs: int = 1,
        epoch_size: int | None = None,
        patients: Any = None,
    ) -> None:
        keys = np.asarray(cells)
        self.items = np.flatnonzero(keys >= 0) if keys.dtype.kind in "iuf" else np.arange(len(keys))
        check_sizes(len(self.items), batch_size)
        _, self.cell = np.unique(keys[self.items], return_inverse=True)
        self.patient = None
        if patients is not None:
            _, self.patient = np.unique(np.asarray(patients)[self.items], return_inverse=True)
        units = len(self.items) if self.patient is None else self.patient.max() + 1
        self.epoch_size = epoch_size or int(units)
        self.batch_size, self.seed, self.epochs = batch_size, seed, epochs
        self.rule, self.exponent, self.beta = rule, exponent, beta

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(self.epoch_size / self.batch_size)

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch."""
        rng = generator(self.seed, epoch)
        units = self._one_per_patient(rng)
        cell = self.cell[units]
        counts = np.bincount(cell)
        shares = cell_shares(
            counts,
            self.rule,
            exponent=self.exponent,
            beta=self.beta,
            progress=epoch / max(1, self.epochs - 1),
        )
        times = dithered(shares[cell] / counts[cell], self.epoch_size, rng)
        drawn = self._others_of_the_patient(units[spread(times, rng)], rng)
        return np.array_split(self.items[drawn], self.steps(epoch))

    def _one_per_patient(self, rng: np.random.Generator) -> Indices:
        """Return positions in ``items``: all of them, or a random one of each patient."""
        if self.patient is None:
            return np.arange(len(self.items))
        order = rng.permutation(len(self.items))
        _, first = np.unique(self.patient[order], return_index=True)
        return order[first]

    def _others_of_the_patient(self, drawn: Indices, rng: np.random.Generator) -> Indices:
        """Let a patient's second, third, ... draw take another of its items of that cell."""
        if self.patient is None:
            return drawn
        _, group_of = np.unique(np.stack([self.patient, self.cell]), axis=1, return_inverse=True)
        group_of = group_of.reshape(-1)
        # The items of each patient and cell in random order, the drawn one first.
        key = rng.random(len(group_of))
        key[drawn] = -1.0
        members = np.lexsort((key, group_of))
        size = np.bincount(group_of)
        start = np.cumsum(size) - size
        by_unit = np.argsort(drawn, kind="stable")
        times = np.unique(drawn, return_counts=True)[1]
        turn = np.empty(len(drawn), dtype=np.int64)  # how often the unit came before
        turn[by_unit] = np.arange(len(drawn)) - np.repeat(np.cumsum(times) - times, times)
        group = group_of[drawn]
        return members[start[group] + turn % size[group]]
