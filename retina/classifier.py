"""The network that grades a photograph: a backbone and a linear head. All methods train this one."""

import torch
from torch import Tensor, nn

from retina.backbones import Backbone, BackboneSettings, build_backbone
from training.algorithm import Output


class FundusClassifier(nn.Module):
    """Logits = head(mean over the backbone's last map).

    Parameters
    ----------
    backbone : Backbone
        The convolutional part.
    n_classes : int
        C.
    """

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.dimensions, n_classes)
        self.n_classes = n_classes

    def classify(self, features: Tensor) -> Output:
        """Return logits and embedding of the last stage's features."""
        embedding = self.backbone.pool(features)
        return Output(logits=self.head(embedding), embedding=embedding)

    def forward(self, pixels: Tensor) -> Output:
        """Return logits (B x C) and embedding (B x E) of normalised pixels (B x 3 x H x W)."""
        return self.classify(self.backbone.late(self.backbone.early(pixels)))


def build_classifier(settings: BackboneSettings, n_classes: int, seed: int) -> FundusClassifier:
    """Build the network; equal settings and seed give equal first weights, whatever the method."""
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        return FundusClassifier(build_backbone(settings), n_classes)
    finally:
        torch.random.set_rng_state(state)
