"""What is read of the trunk's maps: their mean and deviation, stage by stage.

Every stage is read, not the last alone: with a penalised linear head the earlier stages carry what
the last has forgotten (docs/evidence/real_photographs.md).
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from offsite.training.trunk.network import Lite0, channels_last, trunk_input
from offsite.training.trunk.settings import STAGE_NAMES, TrunkReadingSettings

_FIELD = 0.85  # of the half side: inside a prepared photograph's field of view, without its rim


def statistics_of(maps: Sequence[Tensor], settings: TrunkReadingSettings) -> Tensor:
    """Return B x D: the chosen statistics of the chosen stages, stage by stage.

    Parameters
    ----------
    maps : sequence of Tensor
        Of every stage, as `Lite0.maps` gives them: B x K x h x w.
    """
    statistics_of_stages = []
    for name, features in zip(STAGE_NAMES, maps, strict=True):
        if name not in settings.names:
            continue
        # Places before channels, as the maps lie in memory: no map is copied to be turned.
        places = features.permute(0, 2, 3, 1).flatten(1, 2).float()
        share = _share(features.shape[-2], features.shape[-1], settings.region).to(places.device)
        mean = share @ places
        if "mean" in settings.statistics:
            statistics_of_stages.append(mean)
        if "deviation" in settings.statistics:
            squares = (places - mean[:, None]).square()
            statistics_of_stages.append(torch.sqrt(share @ squares))
    return torch.cat(statistics_of_stages, dim=1)


def statistic_maps(maps: Sequence[Tensor], settings: TrunkReadingSettings) -> Tensor:
    """Return B x D x h x w: what each place adds to `statistics_of`, which is the mean over places.

    h x w is the last stage's map; finer maps are averaged down to it. A deviation s is the mean of
    (x - m)^2 / s over places, so it too has a map. Where a side does not divide, the mean is that of
    nearly equal parts.
    """
    grid = (maps[-1].shape[-2], maps[-1].shape[-1])
    statistics_of_stages = []
    for name, features in zip(STAGE_NAMES, maps, strict=True):
        if name not in settings.names:
            continue
        values = features.float()
        height, width = values.shape[-2:]
        share = _share(height, width, settings.region).to(values.device).view(height, width)
        mean = (values * share).sum(dim=(2, 3), keepdim=True)
        squares = (values - mean).square()
        deviation = torch.sqrt((squares * share).sum(dim=(2, 3), keepdim=True))
        parts = {"mean": values, "deviation": squares / deviation.clamp_min(1e-12)}
        for statistic in ("mean", "deviation"):
            if statistic in settings.statistics:
                weighed = parts[statistic] * (share * height * width)
                statistics_of_stages.append(torch.nn.functional.adaptive_avg_pool2d(weighed, grid))
    return torch.cat(statistics_of_stages, dim=1)


def _share(height: int, width: int, region: str) -> Tensor:
    """The weight of each place of a map, h * w numbers that sum to 1."""
    inside = torch.ones(height, width)
    if region == "disc":
        down, across = (((torch.arange(n) + 0.5) / n * 2 - 1).square() for n in (height, width))
        inside = (down[:, None] + across[None] <= _FIELD**2).float()
    return (inside / inside.sum()).flatten()


class TrunkReader(nn.Module):
    """The frozen trunk with what is read of it: pixels to numbers.

    Parameters
    ----------
    settings : TrunkReadingSettings
        What is read.

    Examples
    --------
    >>> import torch
    >>> reader = TrunkReader(TrunkReadingSettings(stages="last")).eval()
    >>> reader(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 640])
    """

    def __init__(self, settings: TrunkReadingSettings) -> None:
        super().__init__()
        self.settings = settings
        self.net = Lite0(folded=True)
        channels_last(self.net)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return B x D of pixels in 0..255 (B x 3 x H x W, float)."""
        return statistics_of(self.maps(pixels), self.settings)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of all stages of pixels in 0..255."""
        return self.net.maps(trunk_input(pixels).contiguous(memory_format=torch.channels_last))

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a frozen trunk is never trained."""
        return super().train(False)


def as_pixels(pictures: np.ndarray) -> Tensor:
    """Return B x 3 x H x W (float32, 0..255, channels last in memory) of uint8 B x H x W x 3."""
    # What comes from another process cannot be written to, which torch warns of.
    return (
        torch.from_numpy(np.require(pictures, requirements=("C", "W"))).float().permute(0, 3, 1, 2)
    )


def pictures_at_once(px: int) -> int:
    """Return how many pictures of a side a processor reads together: as many as its cache holds.

    Fewer leave it waiting. More leave the cache, and their maps grow past the 64 MiB from which
    glibc hands freed memory back, so that every layer's pages are faulted in anew
    (docs/evidence/trunk_speed.md).

    Examples
    --------
    >>> [pictures_at_once(px) for px in (96, 160, 224, 512)]
    [22, 8, 4, 1]
    """
    return max(1, 8 * 160**2 // px**2)
