"""EfficientNet-Lite0 as a backbone that is trained: all of it, or its last stages on kept maps."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from offsite.retina.networks.staged import Backbone, Stage, through
from offsite.retina.photographs.batches import pixels_of
from offsite.retina.settings import BackboneSettings
from offsite.training.trunk.network import (
    TOP_CHANNELS,
    Lite0,
    channels_last,
    folded_state,
    trunk_input,
)

_COLOURS = 3


class TrunkBackbone(Backbone):
    """The trunk in five stages, the first ``frozen_stages`` of which are not trained.

    It takes photographs, or what the frozen stages made of them (`front`): in training these have
    run once for each copy of a photograph. Batch norms of frozen stages, and with ``frozen_norms``
    all, use the statistics that they came with.

    Examples
    --------
    >>> backbone = TrunkBackbone(BackboneSettings(name="efficientnet-lite0", frozen_stages=3))
    >>> pictures = torch.zeros(2, 3, 64, 64)
    >>> maps = backbone.front(pictures)
    >>> tuple(maps.shape), bool((backbone(maps) == backbone(pictures)).all())
    ((2, 40, 8, 8), True)
    """

    def __init__(self, settings: BackboneSettings) -> None:
        net = Lite0()
        channels_last(net)
        blocks: list[nn.Module] = list(net.stages)
        parts = [[net.stem, blocks[0]], [blocks[1]], [blocks[2]], blocks[3:5],
                 [*blocks[5:], net.top]]  # fmt: skip
        stages = [_as_one(part) for part in parts]
        frozen = settings.frozen_stages
        super().__init__(net, stages, TOP_CHANNELS, settings.split_after, _first_layers(frozen))
        self.door = nn.Identity()  # methods that hook layers find the end of the frozen ones here
        self.frozen, self.frozen_norms = frozen, settings.frozen_norms
        self._not_trained = [layer for part in parts[:frozen] for layer in part]
        for layer in self._not_trained:
            layer.requires_grad_(False)

    def front(self, inputs: Tensor) -> Tensor:
        """Return the maps after the frozen stages (B x K x h x w) of photographs; maps as they are.

        With none frozen, the network's own input.
        """
        if not self.frozen:
            return trunk_inputs(inputs)
        if inputs.shape[1] != _COLOURS:
            return inputs
        maps = trunk_inputs(inputs)
        with torch.no_grad():
            return through(self._early[: self.frozen], maps)

    def early(self, pixels: Tensor) -> Tensor:
        """Return the features after the split stage, of photographs or of what `front` gave."""
        return through(self._early[self.frozen :], self.door(self.front(pixels)))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        norms = (each for each in self.modules() if isinstance(each, _BatchNorm))
        for layer in [*self._not_trained, *(norms if self.frozen_norms else ())]:
            layer.eval()
        return self

    def reader(self) -> "FrontReader":
        """Return what reads photographs with the frozen stages alone, in half the time."""
        return FrontReader(self)


class FrontReader(nn.Module):
    """The frozen stages with their batch norms folded into the convolutions.

    Parameters
    ----------
    backbone : TrunkBackbone
        One stage or more of it frozen.
    """

    def __init__(self, backbone: TrunkBackbone) -> None:
        super().__init__()
        net = Lite0(folded=True)
        net.load_state_dict(folded_state(backbone.net.state_dict()))
        read = (1, 2, 3, 5)[backbone.frozen - 1]
        channels_last(net)
        self.layers = nn.Sequential(net.stem, *list(net.stages)[:read])
        self.eval()

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return the maps (B x K x h x w) of normalised photographs (B x 3 x H x W)."""
        maps: Tensor = self.layers(trunk_inputs(pixels))
        return maps


def trunk_inputs(pixels: Tensor) -> Tensor:
    """Return the network's input of normalised photographs (B x 3 x H x W), channels last."""
    return trunk_input(pixels_of(pixels)).contiguous(memory_format=torch.channels_last)


def _as_one(layers: list[nn.Module]) -> Stage:
    """Return the layers as one stage; they stay where they are in the network."""
    return lambda features: through(layers, features)


def _first_layers(frozen: int) -> tuple[str, ...]:
    """Where the first and the second stage end, or the frozen ones if that is later."""
    ends = {1: "net.stages.1", 2: "net.stages.2"}
    trained = tuple(name for stage, name in ends.items() if stage >= frozen)
    return trained if frozen <= 1 else ("door", *trained)
