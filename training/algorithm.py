"""What the fit loop asks of a method, and all that it knows of one."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Output:
    """What a method says of a batch.

    Attributes
    ----------
    logits : Tensor
        B x C, before the softmax.
    embedding : Tensor
        B x E, what the classifier reads: one row per bag or photograph.
    trunk : Tensor or None
        B x T, what a pretrained trunk sees, where it is something else and is told.
    """

    logits: Tensor
    embedding: Tensor
    trunk: Tensor | None = None


@runtime_checkable
class Batch(Protocol):
    """A batch of bags or photographs; it moves to a device and says how many items it holds."""

    labels: Tensor  # B, int64; -1 = unlabelled
    sites: Tensor  # B, int64: index of the training site; -1 = not a training site

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""

    def __len__(self) -> int: ...


class Algorithm(nn.Module):
    """A trainable method: SC-MIL, DECO, ERM and every other one.

    A method holds its networks and its losses. Every schedule in it is a function of ``progress``
    alone, so that a resumed run follows the same curve as an undisturbed one.
    """

    def step(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the losses of one training batch by name.

        Parameters
        ----------
        batch : Batch
            Labelled items.
        progress : float
            Share of the training done, in [0, 1].

        Returns
        -------
        dict of str to Tensor
            Scalars. ``"loss"`` is minimised; the others are logged.
        """
        raise NotImplementedError

    def forward(self, batch: Any) -> Output:
        """Return logits and embedding, as at inference: no label, no site, no augmentation."""
        raise NotImplementedError

    def rate_of(self, name: str) -> float:
        """Return what the learning rate of a parameter is multiplied by, given its name."""
        return 1.0

    def inference_state(self) -> dict[str, Tensor]:
        """Return the weights that inference needs.

        Methods that carry more while training (projection heads, prototypes) leave it out here.
        """
        return self.state_dict()
