"""Overlapping crops of one eye as a bag: what the frozen trunk sees of each, pooled by attention."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.retina.networks.staged import Backbone, through
from offsite.retina.photographs.batches import pixels_of
from offsite.retina.settings import BackboneSettings
from offsite.training.aggregators.additive import AdditiveAttention
from offsite.training.trunk.reading import TrunkReader, pictures_at_once, statistics_of
from offsite.training.trunk.settings import TrunkReadingSettings

WIDTH, ATTENTION_WIDTH = 128, 64
_COLOURS = 3
_LEAST_SCALE = 0.1


class CropBackbone(Backbone):
    """Additive attention over a grid of crops, each read by the frozen trunk at full resolution.

    A microaneurysm is a few pixels of a photograph: shrunk to the trunk's size it is gone, in a crop
    it is not. The statistics of the crops are a map of B x D x g x g, which methods and kept maps
    take like any other; the last map has each crop's exact part of the embedding, which is its mean.
    Our construction over Javed et al. 2022 (arXiv 2206.01794).

    Parameters
    ----------
    settings : BackboneSettings
        ``crops`` a side (g), ``crop_px``, and the stages and statistics that are read.

    Examples
    --------
    >>> backbone = CropBackbone(BackboneSettings(
    ...     name="efficientnet-lite0", frozen=True, crops=2, crop_px=64, stages="last"))
    >>> maps = backbone.front(torch.zeros(1, 3, 96, 96))
    >>> tuple(maps.shape), tuple(backbone(maps).shape)
    ((1, 640, 2, 2), (1, 128))
    """

    centre: Tensor
    scale: Tensor
    frozen = 0

    def __init__(self, settings: BackboneSettings) -> None:
        reading = TrunkReadingSettings(stages=settings.stages, statistics=settings.statistics)
        net = nn.Module()
        net.reader = TrunkReader(reading)
        net.reader.requires_grad_(False)
        net.attention = AdditiveAttention(reading.dimensions, WIDTH, ATTENTION_WIDTH, 0.0)
        super().__init__(net, [self._parts], WIDTH, 0, ("net.attention",))
        self.reading, self.trunk_reader, self.attention = reading, net.reader, net.attention
        self.grid, self.crop_px = settings.crops, settings.crop_px
        self.register_buffer("centre", torch.zeros(reading.dimensions))
        self.register_buffer("scale", torch.ones(reading.dimensions))

    def front(self, inputs: Tensor) -> Tensor:
        """Return what the trunk sees of each crop (B x D x g x g) of photographs; such maps as they are.

        Raises
        ------
        InputError
            Code ``smaller_than_a_crop``.
        """
        if inputs.shape[1] != _COLOURS:
            return inputs
        px, side = inputs.shape[-1], self.crop_px
        if px < side:
            raise InputError(
                f"photographs of {px} px hold no crops of {side} px",
                remedy="Prepare larger photographs, or set backbone.crop_px lower",
                code="smaller_than_a_crop",
            )
        starts = np.linspace(0, px - side, self.grid).round().astype(int)
        pixels = pixels_of(inputs)
        with torch.no_grad():
            rows = [
                self._read(
                    torch.stack(
                        [one[:, y : y + side, x : x + side] for y in starts for x in starts]
                    )
                )
                for one in pixels
            ]
        places = torch.stack(rows).view(len(inputs), self.grid, self.grid, -1)
        return places.permute(0, 3, 1, 2)

    def early(self, pixels: Tensor) -> Tensor:
        """Return each crop's part of the embedding, B x E x g x g, of photographs or of `front`'s."""
        return through(self._early, self.front(pixels))

    def reader(self) -> Callable[[Tensor], Tensor]:
        """Return what reads photographs for maps that are kept."""
        return self.front

    def standardise(self, rows: Tensor) -> None:
        """Set shift and scale by the crops of training photographs (N x D), as a frozen trunk's head has it."""
        scale, centre = torch.std_mean(rows.double(), dim=0, correction=0)
        self.centre.copy_(centre)
        scale = torch.maximum(scale, _LEAST_SCALE * scale.median())
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))  # a map of one place has no deviation

    def _read(self, crops: Tensor) -> Tensor:
        parts = crops.split(pictures_at_once(self.crop_px))
        return torch.cat(
            [statistics_of(self.trunk_reader.maps(part), self.reading) for part in parts]
        )

    def _parts(self, maps: Tensor) -> Tensor:
        items, places = len(maps), self.grid**2
        rows = maps.permute(0, 2, 3, 1).reshape(items * places, -1)
        offsets = torch.arange(0, (items + 1) * places, places, device=maps.device)
        parts, _ = self.attention.parts((rows - self.centre) / self.scale, offsets)
        # Times the places, so that the mean over the map is the sum of the parts.
        return places * parts.view(items, self.grid, self.grid, -1).permute(0, 3, 1, 2)
