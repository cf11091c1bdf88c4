"""The frozen trunk as a backbone: a head is trained by steps on what its stages tell."""

import numpy as np
import torch
from torch import Tensor

from offsite.retina.networks.staged import Backbone
from offsite.retina.photographs.batches import pixels_of
from offsite.training.trunk.reading import TrunkReader, statistic_maps, statistics_of
from offsite.training.trunk.settings import TrunkReadingSettings

_LEAST_SCALE = 0.1


class FrozenBackbone(Backbone):
    """Statistics of the stages of a trunk that is not trained, standardised.

    It takes photographs, or what the trunk read of them before: in training the trunk has run once.

    Parameters
    ----------
    reading : TrunkReadingSettings
        Which statistics.

    Examples
    --------
    >>> backbone = FrozenBackbone(TrunkReadingSettings(stages="last"))
    >>> tuple(backbone(torch.zeros(2, 3, 64, 64)).shape), tuple(backbone(torch.zeros(2, 640)).shape)
    ((2, 640), (2, 640))
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, reading: TrunkReadingSettings) -> None:
        reader = TrunkReader(reading)
        for parameter in reader.parameters():
            parameter.requires_grad = False
        super().__init__(reader, [self._read], reading.dimensions, 0, ("net.net", "net.net"))
        self.reader = reader
        self.register_buffer("centre", torch.zeros(reading.dimensions))
        self.register_buffer("scale", torch.ones(reading.dimensions))

    @property
    def trunk_reader(self) -> TrunkReader:
        """The trunk and what is read of it."""
        return self.reader

    def standardise(self, rows: np.ndarray) -> None:
        """Set shift and scale by training photographs' statistics (N x D).

        No scale is below a tenth of the median one: a number that hardly varies at the training
        sites would otherwise be blown up at a site where it does.
        """
        scale = rows.std(axis=0, dtype=np.float64)
        scale = np.maximum(scale, _LEAST_SCALE * np.median(scale))
        scale[scale == 0] = 1.0  # a map of one place has no deviation
        self.centre.copy_(torch.from_numpy(rows.mean(axis=0, dtype=np.float64)).float())
        self.scale.copy_(torch.from_numpy(scale).float())

    def pool(self, features: Tensor) -> Tensor:
        """Return the standardised statistics as they are."""
        return features

    def with_map(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return embedding (B x D), its map (B x D x h x w, the mean of which it is), and statistics."""
        maps = self.reader.maps(pixels_of(pixels))
        seen = statistics_of(maps, self.reader.settings)
        places = statistic_maps(maps, self.reader.settings)
        shift, scale = self.centre[:, None, None], self.scale[:, None, None]
        return (seen - self.centre) / self.scale, (places - shift) / scale, seen

    def _read(self, inputs: Tensor) -> Tensor:
        rows = inputs
        if inputs.ndim == 4:
            with torch.no_grad():
                rows = self.reader(pixels_of(inputs))
        return (rows - self.centre) / self.scale
