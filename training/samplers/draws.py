"""Draws that repeat no item more often than they must."""

import numpy as np

from offsite.training.samplers.plans import Indices


class Cycle:
    """Items in random cycles; what is taken at once holds no item twice where it need not."""

    def __init__(self, items: Indices, rng: np.random.Generator) -> None:
        self.items, self.rng = items, rng
        self.left = rng.permutation(items)

    def take(self, n: int) -> Indices:
        """Return the next ``n`` items; ``n`` may exceed the number there is."""
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


class SpreadCycle:
    """Items in random cycles within each group, the groups in turn: partners differ in group.

    Of two items taken at once, both are of one group only where the others have none left.
    """

    def __init__(self, items: Indices, groups: np.ndarray, rng: np.random.Generator) -> None:
        self.rng = rng
        self.cycles = [Cycle(items[groups == group], rng) for group in np.unique(groups)]
        self.turn = rng.permutation(len(self.cycles))

    def take(self, n: int) -> Indices:
        """Return the next ``n`` items, as evenly over the groups as their sizes let them."""
        counts = np.zeros(len(self.cycles), dtype=np.int64)
        most = np.array([len(cycle.items) for cycle in self.cycles])
        if n > most.sum():
            most = np.full(len(most), n)
        for position in range(n):
            able = [c for c in self.turn if counts[c] < most[c]]
            fewest = min(able, key=lambda c: counts[c])
            counts[fewest] += 1
            if position == n - 1:  # the next batch begins with another group
                self.turn = np.roll(self.turn, -1)
        return np.concatenate([c.take(int(k)) for c, k in zip(self.cycles, counts, strict=True)])


def dithered(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Round ``n * shares`` to integers that sum to n, each up or down, right on average.

    Systematic sampling: one uniform offset serves all cells, so no cell is off by one or more.

    Examples
    --------
    >>> dithered(np.array([0.5, 0.25, 0.25]), 8, np.random.default_rng(0)).tolist()
    [4, 2, 2]
    """
    # The cells are shuffled so that the rounding of neighbours is not tied to their order.
    order = rng.permutation(len(shares))
    edges = np.cumsum(shares[order]) * n
    edges[-1] = n
    bounds = np.floor(np.concatenate([[0.0], edges]) + rng.random()).astype(np.int64)
    counts = np.empty(len(shares), dtype=np.int64)
    counts[order] = np.diff(bounds)
    return counts


def spread(counts: np.ndarray, rng: np.random.Generator) -> Indices:
    """Return each item i ``counts[i]`` times, in random order, its copies far from each other."""
    items = np.repeat(np.arange(len(counts)), counts)
    copy = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = rng.random(len(counts))
    turn = (copy + offset[items]) / np.maximum(counts[items], 1)
    return items[np.argsort(turn, kind="stable")]
