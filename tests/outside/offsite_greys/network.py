"""The network of grey pictures, and its weights by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def backbone(width: int) -> nn.Module:
    """Return a network from N x 1 x S x S to N x ``width``."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class Network:
    """Trained weights that answer: arrays in, logits and embedding out."""

    def __init__(self, weights: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> None:
        width, classes = int(architecture["width"]), int(architecture["n_classes"])
        self._layers = nn.ModuleDict(
            {"backbone": backbone(width), "classifier": nn.Linear(width, classes)}
        )
        self._layers.load_state_dict(dict(weights))
        self._layers.eval()

    @torch.inference_mode()
    def answers(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits (N x C) and embeddings (N x E) of pictures (N x S x S)."""
        embedding = self._layers["backbone"](torch.from_numpy(pixels)[:, None])
        return self._layers["classifier"](embedding).numpy(), embedding.numpy()
