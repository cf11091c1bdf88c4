"""Training batches of photographs, each draw of a picture augmented anew."""

from collections.abc import Iterator

import numpy as np
import torch

from offsite.preprocessing.augment.fundus import Augment
from offsite.retina.photographs.batches import PhotographBatch, normalised
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.devices import distributed
from offsite.training.randomness import seed_of
from offsite.training.samplers.plans import BatchPlan


class PhotographSource:
    """A batch source for `offsite.training.fit.loop.fit`.

    Parameters
    ----------
    photographs : RunPhotographs
        All of the run.
    rows : numpy.ndarray
        Those of the training split; the plans count from 0 within them.
    plan : BatchPlan
        Batches of items (B) or of pairs (B x 2).
    augment : callable
        ``augment(pixels, seed)``.
    seed : int
        Of the augmentation: a picture's is a function of (seed, epoch, row, view).
    second : callable, optional
        Makes a second view of each photograph.
    warm : (BatchPlan, int), optional
        A plan of items, and the number of first epochs that follow it instead.
    """

    def __init__(
        self,
        photographs: RunPhotographs,
        rows: np.ndarray,
        plan: BatchPlan,
        augment: Augment,
        seed: int,
        *,
        second: Augment | None = None,
        warm: tuple[BatchPlan, int] | None = None,
    ) -> None:
        self.photographs, self.all_rows = photographs, rows
        self.plan, self.augment, self.seed = plan, augment, seed
        self.second, self.warm = second, warm

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return self._plan(epoch).steps(epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[PhotographBatch]:
        """Yield this rank's batches of an epoch from number ``start`` on."""
        for items in self._plan(epoch).batches(epoch)[start:]:
            mine = distributed.shard(items)
            yield self._load(mine.T.reshape(-1), epoch, paired=mine.ndim == 2)

    def _plan(self, epoch: int) -> BatchPlan:
        return self.warm[0] if self.warm is not None and epoch < self.warm[1] else self.plan

    def _load(self, items: np.ndarray, epoch: int, *, paired: bool) -> PhotographBatch:
        rows = self.all_rows[items]
        raw = self.photographs.store.pixels(rows)
        seeds = [[seed_of(self.seed, epoch, int(row), view) for row in rows] for view in (0, 1)]
        # A photograph that is both anchor and partner is seen alike in both places.
        first = np.stack([self.augment(p, s) for p, s in zip(raw, seeds[0], strict=True)])
        second = None
        if self.second is not None:
            views = [self.second(p, s) for p, s in zip(raw, seeds[1], strict=True)]
            second = normalised(np.stack(views))
        return PhotographBatch(
            pixels=normalised(first),
            labels=torch.from_numpy(self.photographs.labels[rows]),
            sites=torch.from_numpy(self.photographs.sites[rows]),
            second=second,
            paired=paired,
        )
