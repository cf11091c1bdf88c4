"""The backbones by name."""

from typing import Any

import torch
from torch import Tensor

from offsite.retina.networks.staged import Backbone, Stage, through
from offsite.retina.networks.thin_resnet import ThinResNet18
from offsite.retina.settings import TRUNK, BackboneSettings

_RESNET = ("net.layer1", "net.layer2")


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
