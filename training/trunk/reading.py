"""What is read of the trunk's maps: their mean and deviation, stage by stage.

Every stage is read, not the last alone: with a penalised linear head the earlier stages carry what
the last has forgotten (docs/evidence/real_photographs.md).
"""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from offsite.settings import Settings
from offsite.training.trunk.network import STAGE_CHANNELS, STAGE_NAMES, Lite0, trunk_input

StageName = Literal["stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "stage7"]
StatisticName = Literal["mean", "deviation"]
_GROUPS = {"last": STAGE_NAMES[-1:], "late": STAGE_NAMES[-2:], "all": STAGE_NAMES}
_FIELD = 0.85  # of the half side: inside a prepared photograph's field of view, without its rim


class TrunkReadingSettings(Settings):
    """Which numbers of which stages of the trunk are read."""

    stages: Literal["all", "late", "last"] | tuple[StageName, ...] = Field(
        default="all", description="Stages read: all eight, the late two, the last, or by name"
    )
    statistics: tuple[StatisticName, ...] = Field(
        default=("mean", "deviation"), min_length=1, description="Numbers taken of each channel"
    )
    region: Literal["whole", "disc"] = Field(
        default="whole",
        description="Where: the whole map, or a disc of .85 of its half side (a photograph's field"
        " of view without its rim)",
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, chosen in (("stages", self.stages), ("statistics", self.statistics)):
            if not isinstance(chosen, str) and (not chosen or len(set(chosen)) < len(chosen)):
                raise ValueError(f"{name} must name something, and nothing twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The stages, from early to late."""
        chosen = _GROUPS[self.stages] if isinstance(self.stages, str) else self.stages
        return tuple(name for name in STAGE_NAMES if name in chosen)

    @property
    def dimensions(self) -> int:
        """How many numbers are read.

        Examples
        --------
        >>> TrunkReadingSettings().dimensions
        1632
        """
        channels = dict(zip(STAGE_NAMES, STAGE_CHANNELS, strict=True))
        return len(self.statistics) * sum(channels[name] for name in self.names)


def statistics_of(maps: Sequence[Tensor], settings: TrunkReadingSettings) -> Tensor:
    """Return B x D: the chosen statistics of the chosen stages, stage by stage.

    Parameters
    ----------
    maps : sequence of Tensor
        Of every stage, as `Lite0.maps` gives them: B x K x h x w.
    """
    found = []
    for name, features in zip(STAGE_NAMES, maps, strict=False):
        if name not in settings.names:
            continue
        rows = features.flatten(2).float()
        share = _share(features.shape[-2], features.shape[-1], settings.region).to(rows.device)
        mean = rows @ share
        if "mean" in settings.statistics:
            found.append(mean)
        if "deviation" in settings.statistics:
            found.append(torch.sqrt((rows - mean[..., None]).square() @ share))
    return torch.cat(found, dim=1)


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
        for convolution in self.net.parameters():
            if convolution.ndim == 4:
                convolution.data = convolution.data.contiguous(memory_format=torch.channels_last)

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
    return torch.from_numpy(np.ascontiguousarray(pictures)).float().permute(0, 3, 1, 2)
