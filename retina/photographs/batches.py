"""A batch of photographs, and what turns pixels into a network's input."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

# The usual ImageNet statistics: what pretrained weights expect, and harmless without them.
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_SD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class PhotographBatch:
    """Photographs ready for a network.

    Attributes
    ----------
    pixels : Tensor
        B x 3 x H x W, float32, normalised.
    labels : Tensor
        B, int64; -1 = unlabelled.
    sites : Tensor
        B, int64: index of the training site; -1 = not a training site.
    second : Tensor or None
        B x 3 x H x W: another view of each photograph, for methods that compare two.
    paired : bool
        The second half of the items are the partners of the first: item i + B/2 goes with item i.
    """

    pixels: Tensor
    labels: Tensor
    sites: Tensor
    second: Tensor | None = None
    paired: bool = False

    def to(self, device: torch.device | str) -> "PhotographBatch":
        """Return the batch on another device."""
        return replace(
            self,
            pixels=self.pixels.to(device, non_blocking=True),
            labels=self.labels.to(device),
            sites=self.sites.to(device),
            second=None if self.second is None else self.second.to(device, non_blocking=True),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def anchors(self) -> "PhotographBatch":
        """The first half of a paired batch; a plain batch itself."""
        return self._rows(slice(None, len(self) // 2)) if self.paired else self

    @property
    def partners(self) -> "PhotographBatch":
        """The second half of a paired batch."""
        if not self.paired:
            raise ValueError("the batch holds no pairs")
        return self._rows(slice(len(self) // 2, None))

    def _rows(self, rows: slice) -> "PhotographBatch":
        second = None if self.second is None else self.second[rows]
        return PhotographBatch(self.pixels[rows], self.labels[rows], self.sites[rows], second)


def normalised(pixels: np.ndarray) -> Tensor:
    """Return the network's input (B x 3 x H x W, float32) of uint8 pictures (B x H x W x 3)."""
    picture = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    return (picture.float() / 255 - _MEAN) / _SD


def pixels_of(inputs: Tensor) -> Tensor:
    """Return pixels in 0..255 (float) of what `normalised` gave, for networks with another scale.

    Whole numbers come back as whole numbers, so a picture is the same on every way.
    """
    pixels = (inputs * _SD.to(inputs.device) + _MEAN.to(inputs.device)) * 255
    whole = torch.round(pixels)
    return torch.where((pixels - whole).abs() < 1e-3, whole, pixels)
