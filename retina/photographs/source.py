"""Training batches of photographs, each draw of a picture augmented anew."""

import numpy as np
import torch

from offsite.preprocessing.augment.fundus import Augment
from offsite.retina.photographs.batches import PhotographBatch, normalised
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.randomness import seed_of


class PhotographLoader:
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
        self.photographs, self.all_rows = photographs, rows
        self.augment, self.seed, self.second = augment, seed, second

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
        raw = self.photographs.store.pixels(rows)
        second = None
        if self.second is not None:
            second = normalised(self._view(self.second, raw, self._seeds(epoch, rows, 1, draws)))
        return PhotographBatch(
            pixels=normalised(self._view(self.augment, raw, self._seeds(epoch, rows, 0, draws))),
            labels=torch.from_numpy(self.photographs.labels[rows]),
            sites=torch.from_numpy(self.photographs.sites[rows]),
            second=second,
            paired=items.ndim == 2,
        )

    def _seeds(self, epoch: int, rows: np.ndarray, view: int, draws: np.ndarray) -> list[int]:
        return [
            # A first draw has the seed that it would have where nothing is drawn twice.
            seed_of(self.seed, epoch, row, view, *([time] if time else []))
            for row, time in zip(rows.tolist(), draws.tolist(), strict=True)
        ]

    @staticmethod
    def _view(augment: Augment, raw: np.ndarray, seeds: list[int]) -> np.ndarray:
        return np.stack([augment(picture, seed) for picture, seed in zip(raw, seeds, strict=True)])
