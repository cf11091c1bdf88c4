"""Networks that read photographs, in stages that a method can step between."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from offsite.retina.networks.thin_resnet import ThinResNet18
from offsite.retina.settings import TRUNK, BackboneSettings

Stage = Callable[[Tensor], Tensor]


_RESNET = ("net.layer1", "net.layer2")


class Backbone(nn.Module):
    """A convolutional network as a stem and four stages.

    Parameters
    ----------
    net : nn.Module
        Holds the layers under their usual names.
    stages : sequence of callables
        The stem with the first stage's predecessor, then the stages; each maps features to
        features and uses layers of ``net`` alone.
    dimensions : int
        Channels E of the last stage.
    split_after : int
        Stage that ends `early`; 0 is the stem.
    first_layers : tuple of str
        Names, within this module, of the layers that end the first and the second stage.
    """

    def __init__(
        self,
        net: nn.Module,
        stages: Sequence[Stage],
        dimensions: int,
        split_after: int,
        first_layers: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.net = net
        self.first_layers = first_layers
        self.dimensions = dimensions
        self._early, self._late = list(stages[: split_after + 1]), list(stages[split_after + 1 :])
        self.rate_by_depth = 1.0
        self._depths = _depths(net)
        self._plain_memory = any(_crashes_channels_last(layer) for layer in net.modules())

    def early(self, pixels: Tensor) -> Tensor:
        """Return the features after the split stage: B x K x h x w of B x 3 x H x W."""
        return through(self._early, pixels.contiguous() if self._plain_memory else pixels)

    def late(self, features: Tensor) -> Tensor:
        """Return the last stage's features (B x E x h' x w') of the split stage's."""
        return through(self._late, features)

    def pool(self, features: Tensor) -> Tensor:
        """Return B x E: the mean over the map."""
        return features.mean(dim=(2, 3))

    @contextmanager
    def watched(self) -> Iterator[list[list[Tensor]]]:
        """Keep what each stage gives meanwhile: for each a list of B x K, means over the map."""
        seen: list[list[Tensor]] = [[] for _ in (*self._early, *self._late)]

        def kept(stage: Stage, means: list[Tensor]) -> Stage:
            def watched(features: Tensor) -> Tensor:
                given = stage(features)
                means.append(given.detach().flatten(2).mean(dim=2).float().cpu())
                return given

            return watched

        stages = self._early, self._late
        cut = len(self._early)
        self._early = [kept(*both) for both in zip(stages[0], seen[:cut], strict=True)]
        self._late = [kept(*both) for both in zip(stages[1], seen[cut:], strict=True)]
        try:
            yield seen
        finally:
            self._early, self._late = stages

    def rate_of(self, name: str) -> float:
        """Return the factor of the learning rate of a parameter of this module.

        The last part of the network has ``rate_by_depth``, the one before it its square, and so on.
        """
        part = _part(name.removeprefix("net."), self.net)
        return self.rate_by_depth ** self._depths[part]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embedding, B x E."""
        return self.pool(self.late(self.early(pixels)))


def _part(name: str, net: nn.Module) -> str:
    """The part of a network that a parameter belongs to: a child, or an item of a list of them."""
    first, _, rest = name.partition(".")
    child = getattr(net, first)
    items = child.children() if isinstance(child, nn.ModuleList | nn.Sequential) else ()
    if any(len(list(item.children())) for item in items):  # of blocks, not of plain layers
        return f"{first}.{rest.partition('.')[0]}"
    return first


def _depths(net: nn.Module) -> dict[str, int]:
    """How far each part of a network that has parameters lies from its end, from 1."""
    parts = list(dict.fromkeys(_part(name, net) for name, _ in net.named_parameters()))
    return {part: len(parts) - number for number, part in enumerate(parts)}


def _crashes_channels_last(layer: nn.Module) -> bool:
    """Whether oneDNN writes past its memory here: the gradient of a 1 x 1 kernel with a stride.

    Seen with oneDNN 3.12 on processors with AVX2 alone, for pictures stored channels last and
    input channels that do not fill a block of eight: the process ends by a signal.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels % 8 != 0
    )


def through(stages: Iterable[Stage], features: Tensor) -> Tensor:
    """Return what stages one after the other make of features."""
    for stage in stages:
        features = stage(features)
    return features


def build_backbone(settings: BackboneSettings, first_weights: bool = True) -> Backbone:
    """Build a backbone; random weights come from torch's generator, so seed it first.

    Raises
    ------
    InputError
        The file of first weights cannot be read, or does not fit the network; for timm's, see
        `offsite.retina.networks.timm_backbones.timm_network`.
    """
    build = {
        "thin_resnet18": _thin_resnet18,
        "resnet18": _monai_resnet,
        "resnet50": _monai_resnet,
        "densenet121": _densenet,
        "efficientnet-b0": _efficientnet,
        TRUNK: _lite0,
        "timm": _timm,
    }[settings.name]
    backbone = build(settings)
    backbone.rate_by_depth = settings.rate_by_depth
    if not first_weights:
        return backbone
    if settings.name == TRUNK:
        from offsite.training.trunk.weights import trunk_state

        backbone.net.load_state_dict(trunk_state(settings.weights))
    elif settings.weights is not None:
        from offsite.retina.networks.first_weights import load_first_weights

        load_first_weights(backbone.net, settings.weights)
    return backbone


def _thin_resnet18(settings: BackboneSettings) -> Backbone:
    net = ThinResNet18(settings.width)
    layers = [net.get_submodule(f"layer{number}") for number in range(1, 5)]
    return Backbone(net, [net.stem, *layers], settings.width * 8, settings.split_after, _RESNET)


def _monai_resnet(settings: BackboneSettings) -> Backbone:
    from monai.networks.nets import resnet18, resnet50

    make = resnet18 if settings.name == "resnet18" else resnet50
    net: Any = make(
        pretrained=False,
        spatial_dims=2,
        n_input_channels=3,
        num_classes=1,
        feed_forward=False,
        shortcut_type="B",
        bias_downsample=False,
        conv1_t_size=7,
        conv1_t_stride=2,
    )

    def stem(pixels: Tensor) -> Tensor:
        return net.maxpool(net.act(net.bn1(net.conv1(pixels))))

    stages: list[Stage] = [stem, net.layer1, net.layer2, net.layer3, net.layer4]
    dimensions = 512 if settings.name == "resnet18" else 2048
    return Backbone(net, stages, dimensions, settings.split_after, _RESNET)


def _densenet(settings: BackboneSettings) -> Backbone:
    from monai.networks.nets import DenseNet121

    net = DenseNet121(spatial_dims=2, in_channels=3, out_channels=1)
    del net.class_layers
    layers: Any = net.features

    def stem(pixels: Tensor) -> Tensor:
        return layers.pool0(layers.relu0(layers.norm0(layers.conv0(pixels))))

    def block(number: int) -> Stage:
        dense, after = layers.get_submodule(f"denseblock{number}"), f"transition{number}"
        transition = layers.get_submodule(after)
        return lambda features: transition(dense(features))

    def last(features: Tensor) -> Tensor:
        return torch.relu(layers.norm5(layers.denseblock4(features)))

    stages: list[Stage] = [stem, block(1), block(2), block(3), last]
    first = ("net.features.transition1", "net.features.transition2")
    return Backbone(net, stages, 1024, settings.split_after, first)


def _efficientnet(settings: BackboneSettings) -> Backbone:
    from monai.networks.nets import EfficientNetBN

    net: Any = EfficientNetBN(settings.name, pretrained=False, spatial_dims=2, in_channels=3)
    del net._fc

    def stem(pixels: Tensor) -> Tensor:
        return net._swish(net._bn0(net._conv_stem(net._conv_stem_padding(pixels))))

    def blocks(first: int, last: int) -> Stage:
        blocks: list[Any] = list(net._blocks.children())[first:last]
        return lambda features: through(blocks, features)

    def top(features: Tensor) -> Tensor:
        deep = blocks(5, 7)(features)
        return net._swish(net._bn1(net._conv_head(net._conv_head_padding(deep))))

    stages: list[Stage] = [stem, blocks(0, 2), blocks(2, 3), blocks(3, 5), top]
    first = ("net._blocks.1", "net._blocks.2")
    return Backbone(net, stages, 1280, settings.split_after, first)


def _lite0(settings: BackboneSettings) -> Backbone:
    from offsite.retina.networks.trunk_backbone import TrunkBackbone

    return TrunkBackbone(settings)


def _timm(settings: BackboneSettings) -> Backbone:
    from offsite.retina.networks.timm_backbones import timm_network

    assert settings.timm is not None
    net, stages, dimensions, ends = timm_network(settings.timm)
    first = (f"net.{ends[0]}", f"net.{ends[1]}")
    return Backbone(net, stages, dimensions, settings.split_after, first)
