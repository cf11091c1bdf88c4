"""Running means of the named losses of an epoch, over all ranks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from preprocessing.errors import InputError
from training import distributed


class LossMeans:
    """Means weighted by the number of items; a value that is not finite is left out of its mean.

    An algorithm logs NaN where something is undefined for a batch (no valid anchor of a class,
    say). ``loss`` itself must be finite. Sums stay on the device, so no step waits for them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.wide = torch.float32 if device.type == "mps" else torch.float64
        self.sums: dict[str, Tensor] = {}  # name -> (sum, weight, values that were not finite)

    def add(self, losses: Mapping[str, Tensor], items: int) -> None:
        """Take in the losses of a step on this rank."""
        for name, value in losses.items():
            wide = value.detach().to(self.wide)
            finite = torch.isfinite(wide)
            parts = (torch.where(finite, wide, 0.0) * items, finite * float(items), ~finite)
            entry = torch.stack([part.to(self.wide) for part in parts])
            self.sums[name] = self.sums[name] + entry if name in self.sums else entry

    def state(self) -> dict[str, list[float]]:
        """Return the sums over all ranks, JSON-able.

        Raises
        ------
        InputError
            Code ``diverged``: a loss was not finite.
        """
        names = sorted(self.sums)
        table = torch.stack([self.sums[name] for name in names]) if names else torch.zeros(0, 3)
        total = distributed.sum_over_ranks(table).cpu()
        state = {name: [float(v) for v in row] for name, row in zip(names, total, strict=True)}
        if state.get("loss", [0, 0, 0])[2] > 0:
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
        self.sums = {
            name: torch.tensor(row if take else [0.0] * 3, dtype=self.wide, device=self.device)
            for name, row in state.items()
        }

    def clear(self) -> None:
        """Begin a new epoch."""
        self.sums = {}
