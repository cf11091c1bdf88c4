"""The network that grades a photograph: a backbone and a head. All methods train this one."""

import torch
from torch import Tensor, nn

from offsite.retina.networks.backbones import build_backbone
from offsite.retina.networks.crops import CropBackbone
from offsite.retina.networks.frozen import FrozenBackbone
from offsite.retina.networks.staged import Backbone
from offsite.retina.networks.trunk_backbone import trunk_inputs
from offsite.retina.settings import BackboneSettings, HeadName
from offsite.training.algorithm import Output
from offsite.training.heads.ordinal import CornHead, GradeHead
from offsite.training.trunk.network import Lite0, folded_state
from offsite.training.trunk.reading import statistics_of
from offsite.training.trunk.settings import TrunkReadingSettings
from offsite.training.trunk.weights import trunk_state

ALL_STAGES = TrunkReadingSettings(region="disc")
"""What is read of a trunk that is trained, to tell foreign photographs by."""


class FundusClassifier(nn.Module):
    """Logits of the mean over the backbone's last map.

    Parameters
    ----------
    backbone : Backbone
        The convolutional part.
    classifier : nn.Module
        ``classifier(B x E) -> B x C`` logits.
    """

    def __init__(self, backbone: Backbone, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone, self.classifier = backbone, classifier

    def forward(self, pixels: Tensor) -> Output:
        """Return logits (B x C) and embedding (B x E) of normalised pixels (B x 3 x H x W)."""
        return self.with_map(pixels)[0]

    def with_map(self, pixels: Tensor) -> tuple[Output, Tensor]:
        """Return the same, and the last map (B x E x h x w) whose mean is the embedding.

        In evaluation the output of a pretrained trunk also tells what its stages see.
        """
        if isinstance(self.backbone, FrozenBackbone):
            embedding, last, seen = self.backbone.with_map(pixels)
            return Output(self.classifier(embedding), embedding, seen), last
        if isinstance(self.backbone, CropBackbone):
            crops = self.backbone.front(pixels)
            last = self.backbone.early(crops)
            embedding = self.backbone.pool(last)
            return Output(self.classifier(embedding), embedding, crops.mean(dim=(2, 3))), last
        net, trunk = self.backbone.net, None
        if isinstance(net, Lite0) and not self.training:
            maps = net.maps(trunk_inputs(pixels))
            last, trunk = net.top(maps[-1]), statistics_of(maps, ALL_STAGES)
        else:
            last = self.backbone.late(self.backbone.early(pixels))
        embedding = self.backbone.pool(last)
        return Output(self.classifier(embedding), embedding, trunk), last


def build_classifier(
    settings: BackboneSettings,
    n_classes: int,
    seed: int,
    head: HeadName = "linear",
    first_weights: bool = True,
) -> FundusClassifier:
    """Build the network; equal settings and seed give equal first weights, whatever the method.

    Parameters
    ----------
    head : {"linear", "corn", "grade"}
        Nominal classes, conditional thresholds, or a real-valued grade with cut-points
        (`offsite.training.heads.ordinal`).
    first_weights : bool
        Whether to load those that the settings name, or that are in the box.
    """
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        backbone = _backbone(settings, first_weights)
        heads = {"linear": nn.Linear, "corn": CornHead, "grade": GradeHead}
        return FundusClassifier(backbone, heads[head](backbone.dimensions, n_classes))
    finally:
        torch.random.set_rng_state(state)


def _backbone(settings: BackboneSettings, first_weights: bool) -> Backbone:
    if not settings.frozen:
        return build_backbone(settings, first_weights)
    if settings.crops:
        backbone: CropBackbone | FrozenBackbone = CropBackbone(settings)
    else:
        backbone = FrozenBackbone(settings.reading())
    if first_weights:
        backbone.trunk_reader.net.load_state_dict(folded_state(trunk_state(settings.weights)))
    return backbone


def network_state(algorithm: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of an algorithm's backbone and classifier by their full names."""
    state = algorithm.state_dict()
    return {n: t for n, t in state.items() if n.startswith(("backbone.", "classifier."))}
