"""Running means of the named losses of an epoch, over all ranks."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from offsite.errors import InputError
from offsite.training.devices import distributed

_FOLD_AT = 256  # steps whose values wait on the device before they are fetched at once


class LossMeans:
    """Means weighted by the number of items; a value that is not finite is left out of its mean.

    An algorithm logs NaN where something is undefined for a batch (no valid anchor of a class,
    say). ``loss`` itself must be finite. Every rank logs the same names.

    Values are added up one by one in the order of the steps, so that the sums of a resumed run are
    those of an undisturbed one to the last bit.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.waiting: list[tuple[dict[str, Tensor], int]] = []
        self.sums: dict[str, list[float]] = {}  # name -> sum, weight, values that were not finite

    def add(self, losses: Mapping[str, Tensor], items: int) -> None:
        """Take in the losses of a step on this rank."""
        kept = {name: value.detach().clone() for name, value in losses.items()}
        self.waiting.append((kept, items))
        if len(self.waiting) >= _FOLD_AT:
            self._fold()

    def _fold(self) -> None:
        flat = [
            value.to(self.device).float() for kept, _ in self.waiting for value in kept.values()
        ]
        values = iter(torch.stack(flat).tolist() if flat else [])
        for kept, items in self.waiting:
            for name in kept:
                entry, value = self.sums.setdefault(name, [0.0, 0.0, 0.0]), next(values)
                if math.isfinite(value):
                    entry[0] += value * items
                    entry[1] += items
                else:
                    entry[2] += 1
        self.waiting = []

    def state(self) -> dict[str, list[float]]:
        """Return the sums over all ranks, JSON-able.

        Raises
        ------
        InputError
            Code ``diverged``: a loss was not finite.
        """
        self._fold()
        names = sorted(self.sums)
        rows = distributed.sums_over_ranks([v for name in names for v in self.sums[name]])
        state = {name: rows[3 * i : 3 * i + 3] for i, name in enumerate(names)}
        if state.get("loss", [0.0, 0.0, 0.0])[2] > 0:
            raise InputError(
                "the loss is not finite any more",
                remedy="Lower the learning rate, or set gradient_clip to 1",
                code="diverged",
            )
        return state

    def means(self) -> dict[str, float | None]:
        """Return the means over all ranks; None where no value was finite."""
        return {n: s / w if w > 0 else None for n, (s, w, _) in self.state().items()}

    def load(self, state: Mapping[str, list[float]], *, take: bool) -> None:
        """Put back the sums over all ranks; one rank takes them, the others start from zero."""
        self.waiting = []
        self.sums = {name: list(row) if take else [0.0] * 3 for name, row in state.items()}

    def clear(self) -> None:
        """Begin a new epoch."""
        self.waiting, self.sums = [], {}
