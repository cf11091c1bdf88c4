"""The one way from prepared pictures to grades: validation, evaluation and the clinician's use it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.retina.networks.classifier import FundusClassifier, build_classifier
from offsite.retina.networks.linear import LinearClassifier
from offsite.retina.photographs.batches import normalised
from offsite.retina.settings import BackboneSettings
from offsite.training.algorithm import Output
from offsite.training.trunk.settings import TrunkReadingSettings

FundusNetwork = FundusClassifier | LinearClassifier

BATCH = 64


class Graded:
    """Outputs of many photographs: ``logits`` (N x C) and ``embeddings`` (N x E), float32.

    ``maps`` (N x E x h x w) where they were asked for: the embedding is their mean. ``trunk``
    (N x T) what a pretrained trunk sees, where that is not the embedding.
    """

    def __init__(
        self,
        logits: np.ndarray,
        embeddings: np.ndarray,
        maps: np.ndarray | None = None,
        trunk: np.ndarray | None = None,
    ) -> None:
        self.logits, self.embeddings, self.maps, self.trunk = logits, embeddings, maps, trunk

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits: N x C, float64."""
        shifted = self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True)
        powers = np.exp(shifted)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@torch.inference_mode()
def grade(
    network: nn.Module, pixels: Callable[[np.ndarray], np.ndarray], n: int, batch: int = BATCH
) -> Graded:
    """Grade n prepared pictures.

    Parameters
    ----------
    network : nn.Module
        ``network(B x 3 x H x W) -> Output``; put into evaluation mode for the time being.
    pixels : callable
        ``pixels(rows) -> uint8 B x px x px x 3``; called batch by batch, so memory is bounded.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    try:
        outputs: list[Output] = []
        for start in range(0, n, batch):
            rows = np.arange(start, min(start + batch, n))
            outputs.append(network(normalised(pixels(rows)).to(device)))
    finally:
        network.train(training)
    return graded_of(outputs)


def graded_of(outputs: Sequence[Output]) -> Graded:
    """Return the outputs of batches as those of all their photographs."""
    return Graded(
        _joined([out.logits for out in outputs]),
        _joined([out.embedding for out in outputs]),
        trunk=_trunk(outputs),
    )


@torch.inference_mode()
def grade_with_maps(network: FundusNetwork, pictures: np.ndarray) -> Graded:
    """Grade one batch of pictures (uint8, B x px x px x 3) as `grade` does, and keep the last maps.

    The network is in evaluation mode, as `load_fundus_model` gives it.
    """
    device = next(network.parameters()).device
    output, last = network.with_map(normalised(pictures).to(device))
    return Graded(
        _joined([output.logits]), _joined([output.embedding]), _joined([last]), _trunk([output])
    )


def _trunk(outputs: Sequence[Output]) -> np.ndarray | None:
    seen = [out.trunk for out in outputs if out.trunk is not None]
    return _joined(seen) if seen else None


def _joined(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).float().cpu().numpy() if parts else np.zeros((0, 0), np.float32)


def load_fundus_model(weights: str | Path, architecture: dict[str, Any]) -> FundusNetwork:
    """Rebuild a network from a run's ``weights.safetensors`` and its architecture.

    Parameters
    ----------
    weights : path
        See `fundus_model`.
    architecture : dict
        See `fundus_model`.

    Raises
    ------
    InputError
        Code ``weights_do_not_fit``.
    """
    from safetensors.torch import load_file

    return fundus_model(load_file(weights), architecture, file=weights)


def fundus_model(
    weights: Mapping[str, Tensor], architecture: dict[str, Any], *, file: str | Path
) -> FundusNetwork:
    """Rebuild a network from weights in memory; in eval mode.

    Parameters
    ----------
    weights : mapping
        Tensors by name; names start with ``backbone.`` or ``classifier.``.
    architecture : dict
        ``{"backbone": BackboneSettings as JSON, "head": name, "n_classes": C}``, as ``run.json``
        keeps it; of method `linear` ``{"reading": TrunkReadingSettings as JSON, "n_classes": C}``, and
        ``"head": "classes"`` where it was learnt in rounds.
    file : path
        Where they came from, for the error.

    Raises
    ------
    InputError
        Code ``weights_do_not_fit``.
    """
    network = _empty(architecture)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            "the weights are not of this network",
            file=file,
            code="weights_do_not_fit",
            remedy="Take weights and architecture from the same run",
        ) from error
    return network.eval()


def _empty(architecture: dict[str, Any]) -> FundusNetwork:
    """The network of an architecture, its weights still to come."""
    n_classes = int(architecture["n_classes"])
    if "reading" in architecture:
        reading = TrunkReadingSettings(**architecture["reading"])
        return LinearClassifier(reading, n_classes, architecture.get("head", "grade"))
    settings = BackboneSettings(**{**architecture["backbone"], "weights": None})
    return build_classifier(
        settings, n_classes, seed=0, head=architecture["head"], first_weights=False
    )
