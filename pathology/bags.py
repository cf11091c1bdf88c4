"""Bags of instances: packed, never padded; drawn anew in every epoch, whole at evaluation."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from offsite.pathology.features.store import FeatureStore
from offsite.training.randomness import generator


@dataclass(frozen=True)
class Bags:
    """A batch of bags.

    Attributes
    ----------
    rows : Tensor
        N x D: the instances of all bags, one bag after the other.
    offsets : Tensor
        B + 1, int64: bag b owns rows ``offsets[b]:offsets[b + 1]``; no bag is empty.
    labels : Tensor
        B, int64; -1 = unlabelled.
    bags : Tensor
        B, int64: which bag of the table each is (or a view of).
    sites : Tensor
        B, int64: index of the training site; -1 = not a training site, or not known.
    views : int
        So many neighbouring bags are views of one drawn bag.

    Examples
    --------
    >>> batch = Bags.pack([np.ones((2, 3)), np.zeros((5, 3))], labels=[1, 0])
    >>> tuple(batch.rows.shape), batch.offsets.tolist()
    ((7, 3), [0, 2, 7])
    """

    rows: Tensor
    offsets: Tensor
    labels: Tensor
    bags: Tensor
    sites: Tensor
    views: int = 1

    def to(self, device: torch.device | str) -> "Bags":
        """Return the batch on another device."""
        return replace(
            self,
            rows=self.rows.to(device, non_blocking=True),
            offsets=self.offsets.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            bags=self.bags.to(device, non_blocking=True),
            sites=self.sites.to(device, non_blocking=True),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def pack(
        cls,
        instances: Sequence[np.ndarray],
        labels: Sequence[int] | None = None,
        bags: Sequence[int] | None = None,
        sites: Sequence[int] | None = None,
    ) -> "Bags":
        """Pack bags given one by one (each n x D), in float32.

        Raises
        ------
        ValueError
            There is no bag, or one is empty.
        """
        sizes = [len(bag) for bag in instances]
        if not sizes or min(sizes) == 0:
            raise ValueError("a batch needs bags, and a bag needs instances")
        edges = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.empty((edges[-1], instances[0].shape[1]), np.float32)
        for bag, start in zip(instances, edges, strict=False):
            rows[start : start + len(bag)] = bag  # casts and copies at once
        return cls(
            torch.from_numpy(rows),
            torch.from_numpy(edges),
            torch.tensor([-1] * len(sizes) if labels is None else list(labels)),
            torch.tensor(list(range(len(sizes)) if bags is None else bags)),
            torch.tensor([-1] * len(sizes) if sites is None else list(sites)),
        )


@dataclass(frozen=True)
class BagTable:
    """Which slides make each bag, and its label.

    Attributes
    ----------
    names : tuple of str
        A bag's slide, or its patient where slides are united.
    slides : tuple of tuple of int
        Numbers of the bag's slides in the store.
    labels : numpy.ndarray
        int64; -1 = unlabelled.
    sites : numpy.ndarray, optional
        int64: index of the bag's training site; -1 = not a training site. Not given, none is known.
    """

    names: tuple[str, ...]
    slides: tuple[tuple[int, ...], ...]
    labels: np.ndarray
    sites: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def sites_of(self, bags: Sequence[int]) -> list[int]:
        """Return the training site of each of some bags."""
        return [-1 if self.sites is None else int(self.sites[bag]) for bag in bags]

    def sizes(self, store: FeatureStore) -> np.ndarray:
        """Return the number of instances of each bag."""
        counts = store.counts
        return np.array([sum(counts[s] for s in slides) for slides in self.slides], dtype=np.int64)


class BagLoader:
    """Loads bags of a store: some instances for training, all for evaluation.

    Parameters
    ----------
    store : FeatureStore
        Where the instances are.
    table : BagTable
        The bags.
    instances : int, optional
        K, the most instances of a bag in training; None = all.
    views : int
        Disjoint subsets of each bag in a training batch. A bag of fewer than ``views * K``
        instances is divided evenly; one of fewer than ``views`` is repeated whole.
    seed : int
        Seed of the draws; each is a pure function of (seed, epoch, bag, time in the epoch).
    """

    def __init__(
        self,
        store: FeatureStore,
        table: BagTable,
        *,
        instances: int | None = None,
        views: int = 1,
        seed: int = 0,
    ) -> None:
        self.store, self.table, self.instances = store, table, instances
        self.views, self.seed = views, seed
        self.keys = [zlib.crc32(name.encode()) for name in table.names]
        self.sizes = table.sizes(store)

    def training_batch(self, indices: np.ndarray, epoch: int, times: np.ndarray) -> Bags:
        """Return a batch of drawn instances; a bag's views stand next to each other.

        Parameters
        ----------
        indices : numpy.ndarray
            Bags of the table, int64.
        epoch : int
        times : numpy.ndarray
            int64: how often each was drawn before in the epoch. A bag of a rare class, which
            comes many times, shows other instances each time.
        """
        drawn: list[np.ndarray] = []
        numbers: list[int] = []
        for bag, time in zip(indices.tolist(), times.tolist(), strict=True):
            rng = generator(self.seed, epoch, self.keys[bag], time)
            for which in draw_views(int(self.sizes[bag]), self.instances, self.views, rng):
                drawn.append(self._rows(bag, which))
                numbers.append(bag)
        labels, sites = self.table.labels[numbers].tolist(), self.table.sites_of(numbers)
        return replace(Bags.pack(drawn, labels, numbers, sites), views=self.views)

    def evaluation_batches(self, max_rows: int = 65_536) -> Iterator[tuple[np.ndarray, Bags]]:
        """Yield (indices, batch) over all bags with all instances.

        A batch holds at most ``max_rows`` rows, or one bag that alone is larger.
        """
        for indices in by_total_rows(self.sizes, max_rows):
            rows = [self._rows(int(bag), None) for bag in indices]
            bags = indices.tolist()
            labels, sites = self.table.labels[indices].tolist(), self.table.sites_of(bags)
            yield indices, Bags.pack(rows, labels, bags, sites)

    def _rows(self, bag: int, which: np.ndarray | None) -> np.ndarray:
        slides = self.table.slides[bag]
        if which is None:
            parts = [self.store.rows(slide) for slide in slides]
            return np.concatenate(parts) if len(parts) > 1 else parts[0]
        if len(slides) == 1:
            return self.store.rows(slides[0], which)
        starts = np.concatenate([[0], np.cumsum(self.store.counts[list(slides)])])
        places = np.searchsorted(which, starts)  # which is sorted, so each slide's rows adjoin
        return np.concatenate(
            [
                self.store.rows(slide, which[low:high] - start)
                for slide, start, low, high in zip(
                    slides, starts[:-1], places[:-1], places[1:], strict=True
                )
            ]
        )


def draw_views(
    size: int, instances: int | None, views: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Draw subsets of ``range(size)``, sorted, disjoint where there is enough for all.

    Parameters
    ----------
    size : int
        Instances of the bag, >= 1.
    instances : int, optional
        The most in a subset; None = all.
    views : int
        Number of subsets.

    Examples
    --------
    >>> [len(view) for view in draw_views(10, 4, 2, np.random.default_rng(0))]
    [4, 4]
    >>> [view.tolist() for view in draw_views(1, 4, 2, np.random.default_rng(0))]
    [[0], [0]]
    """
    if size < views:
        return [np.arange(size) for _ in range(views)]
    each = size // views if instances is None else min(instances, size // views)
    if views == 1 and each == size:
        return [np.arange(size)]
    drawn = rng.choice(size, each * views, replace=False)
    return [np.sort(drawn[view * each : (view + 1) * each]) for view in range(views)]


def by_total_rows(sizes: np.ndarray, max_rows: int) -> list[np.ndarray]:
    """Group bags in order so that a group has at most ``max_rows`` rows, or one bag.

    Examples
    --------
    >>> [group.tolist() for group in by_total_rows(np.array([3, 4, 9, 1]), max_rows=8)]
    [[0, 1], [2], [3]]
    """
    groups: list[list[int]] = []
    total = 0
    for bag, size in enumerate(sizes.tolist()):
        if not groups or total + size > max_rows:
            groups.append([])
            total = 0
        groups[-1].append(bag)
        total += size
    return [np.array(group, dtype=np.int64) for group in groups]
