"""Training batches of photographs, each draw of a picture augmented anew."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from offsite.preprocessing.augment.fundus import Augment, Augmentation
from offsite.retina.photographs.batches import PhotographBatch, normalised
from offsite.retina.photographs.kept_maps import KeptMaps
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.randomness import seed_of


class _ViewLoader:
    """Loads what a plan draws, in one or two views, for `offsite.training.samplers.plans.PlannedSource`."""

    def __init__(
        self, photographs: RunPhotographs, rows: np.ndarray, seed: int, *, views: int
    ) -> None:
        self.photographs, self.all_rows = photographs, rows
        self.seed, self.views = seed, views

    def training_batch(self, items: np.ndarray, epoch: int, times: np.ndarray) -> PhotographBatch:
        """Return a batch of augmented photographs; of pairs, all anchors and then all partners.

        Parameters
        ----------
        items : numpy.ndarray
            B or B x 2 (pairs), int64: positions in ``rows``.
        epoch : int
        times : numpy.ndarray
            As ``items``: how often each was drawn before in the epoch. A photograph that is both
            anchor and partner of a pair is seen alike in both.
        """
        rows = self.all_rows[items.T.reshape(-1)]
        draws = times.T.reshape(-1)
        first, *others = (
            self.view(number, rows, self._seeds(epoch, rows, number, draws))
            for number in range(self.views)
        )
        return PhotographBatch(
            pixels=first,
            labels=torch.from_numpy(self.photographs.labels[rows]),
            sites=torch.from_numpy(self.photographs.sites[rows]),
            second=others[0] if others else None,
            paired=items.ndim == 2,
        )

    def _seeds(self, epoch: int, rows: np.ndarray, view: int, draws: np.ndarray) -> list[int]:
        return [
            # A first draw has the seed that it would have where nothing is drawn twice.
            seed_of(self.seed, epoch, row, view, *([time] if time else []))
            for row, time in zip(rows.tolist(), draws.tolist(), strict=True)
        ]

    def view(self, number: int, rows: np.ndarray, seeds: list[int]) -> Tensor:
        """Return what a network reads of these photographs, each altered by its seed."""
        raise NotImplementedError


class PhotographLoader(_ViewLoader):
    """Loads the photographs that a plan draws, for `offsite.training.samplers.plans.PlannedSource`.

    Parameters
    ----------
    photographs : RunPhotographs
        All of the run.
    rows : numpy.ndarray
        Those of the training split; the plans count from 0 within them.
    augment : callable
        ``augment(pixels, seed)``.
    seed : int
        Of the augmentation: a picture's is a function of (seed, epoch, row, view, time in the
        epoch). One that a balanced sampler draws several times looks different each time.
    second : callable, optional
        Makes a second view of each photograph.
    """

    def __init__(
        self,
        photographs: RunPhotographs,
        rows: np.ndarray,
        augment: Augment,
        seed: int,
        *,
        second: Augment | None = None,
    ) -> None:
        super().__init__(photographs, rows, seed, views=1 if second is None else 2)
        self._augment = [augment] if second is None else [augment, second]

    def view(self, number: int, rows: np.ndarray, seeds: list[int]) -> Tensor:
        """See the base class: B x 3 x H x W, normalised."""
        augment, pictures = self._augment[number], self.photographs.store.pixels(rows)
        changed = [augment(picture, seed) for picture, seed in zip(pictures, seeds, strict=True)]
        return normalised(np.stack(changed))


class KeptMapLoader(_ViewLoader):
    """Loads what frozen stages saw: of the kept copies of a photograph, the one that a seed names.

    Parameters
    ----------
    kept : KeptMaps
        Holds the copies of every photograph of ``rows`` in each view.
    copies : int
        Copies of each.
    photographs, rows, seed
        See `PhotographLoader`.
    views : sequence of str
        The augmentations: of the first view, and of the second if there is one.
    """

    def __init__(
        self,
        kept: KeptMaps,
        copies: int,
        photographs: RunPhotographs,
        rows: np.ndarray,
        seed: int,
        views: Sequence[Augmentation],
    ) -> None:
        super().__init__(photographs, rows, seed, views=len(views))
        self._kept, self._copies, self._augmentations = kept, copies, views

    def view(self, number: int, rows: np.ndarray, seeds: list[int]) -> Tensor:
        """See the base class: maps, B x K x h x w."""
        copies = [seed % self._copies for seed in seeds]
        return self._kept.maps(rows, self._augmentations[number], copies)
