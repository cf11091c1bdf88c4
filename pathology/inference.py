"""The one way from bags to answers: validation, evaluation and the clinician all take it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offsite.errors import InputError
from offsite.pathology.bags import BagLoader, Bags
from offsite.pathology.linear_network import LinearSlides
from offsite.pathology.methods import LINEAR
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.training.aggregators.additive import AdditiveAttention
from offsite.training.aggregators.contract import Pooled
from offsite.training.aggregators.segments import segment_mean

SlideNetwork = ScMil | LinearSlides

MAX_ROWS = 65_536
"""Instances that go through the network at once; larger bags stream in several passes."""


@dataclass(frozen=True)
class BagPrediction:
    """What the model says of one bag.

    Attributes
    ----------
    logits, probabilities : numpy.ndarray
        C, float32 and float64; before and after the softmax.
    embedding : numpy.ndarray
        E, float32.
    attention : numpy.ndarray
        n, float32: weight of each instance; they sum to 1.
    mean_features : numpy.ndarray
        D, float32: the mean of the bag's instances as the encoder made them.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    embedding: np.ndarray
    attention: np.ndarray
    mean_features: np.ndarray


def load_slide_model(weights: str | Path, architecture: Mapping[str, Any]) -> SlideNetwork:
    """Build a model from its description and load its weights; in eval mode.

    Parameters
    ----------
    weights : path
        ``weights.safetensors`` of a run or a model package.
    architecture : mapping
        ``name``, ``dimensions``, ``n_classes`` and, but for method `linear`, ``settings`` (of
        `ScMilSettings`) and ``directions`` (None or absent: instances are not whitened), as
        `describe` gives them.

    Raises
    ------
    InputError
        The weights are not those of the architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise _foreign_weights(weights) from error
    return slide_model(tensors, architecture, file=weights)


def slide_model(
    weights: Mapping[str, Tensor], architecture: Mapping[str, Any], *, file: str | Path
) -> SlideNetwork:
    """Build a model from its description and weights in memory (by name); in eval mode.

    ``file`` is where they came from, for the error.

    Raises
    ------
    InputError
        The weights are not those of the architecture.
    """
    model = _empty(architecture)
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise _foreign_weights(file) from error
    if missing or unexpected:
        raise _foreign_weights(file)
    return model.eval()


def _empty(architecture: Mapping[str, Any]) -> SlideNetwork:
    """The network of an architecture, its weights still to come."""
    dimensions, n_classes = int(architecture["dimensions"]), int(architecture["n_classes"])
    if architecture.get("name") == LINEAR:
        return LinearSlides(dimensions, n_classes)
    # What only training reads is left out: an older run may have been trained by what is now refused.
    described = architecture["settings"]
    given = {name: described[name] for name in ("aggregator", "loss") if name in described}
    settings = ScMilSettings.model_validate(given | {"contrast": None})
    directions = architecture.get("directions")  # a model of before there were any has none
    return ScMil(
        dimensions,
        n_classes,
        settings,
        directions=None if directions is None else int(directions),
    )


def describe(model: SlideNetwork) -> dict[str, Any]:
    """Return what `load_slide_model` needs beside the weights (JSON-able)."""
    described = {"dimensions": len(model.centre), "n_classes": model.n_classes}
    if isinstance(model, LinearSlides):
        return {"name": LINEAR, **described}
    directions = None if model.directions is None else len(model.directions)
    settings = model.settings.model_dump(mode="json")
    return {"name": "sc_mil", **described, "directions": directions, "settings": settings}


def predict_bag(
    model: SlideNetwork, rows: np.ndarray, *, max_rows: int = MAX_ROWS
) -> BagPrediction:
    """Predict one bag (rows n x D, n >= 1)."""
    return predict_bags(model, Bags.pack([rows]), max_rows=max_rows)[0]


def predict_all(
    model: SlideNetwork, loader: BagLoader, *, max_rows: int = MAX_ROWS
) -> Iterator[BagPrediction]:
    """Yield the predictions of a loader's bags in order, each with all its instances."""
    for _, batch in loader.evaluation_batches(max_rows):
        yield from predict_bags(model, batch, max_rows=max_rows)


@torch.inference_mode()
def predict_bags(
    model: SlideNetwork, batch: Bags, *, max_rows: int = MAX_ROWS
) -> list[BagPrediction]:
    """Predict the bags of a batch, on the model's device and in eval mode.

    A single bag of more than ``max_rows`` instances goes through in chunks, several times over:
    the result is the same, the memory bounded.
    """
    trained = model.training
    model.eval()
    try:
        device = model.centre.device
        if len(batch) == 1 and len(batch.rows) > max_rows:

            def chunks() -> Iterator[Tensor]:
                for part in batch.rows.split(max_rows):
                    yield model.instances(part.to(device))

            pooled = model.aggregator.stream(chunks)
        else:
            batch = batch.to(device)
            pooled = model.aggregator(model.instances(batch.rows), batch.offsets)
        logits = model.classifier(pooled.embedding)
        means = segment_mean(batch.rows, batch.offsets)
    finally:
        model.train(trained)
    return _split(logits, pooled, batch.offsets, means)


def _split(logits: Tensor, pooled: Pooled, offsets: Tensor, means: Tensor) -> list[BagPrediction]:
    probabilities = torch.softmax(logits.double(), dim=1).cpu().numpy()
    raw, inner, seen = (x.float().cpu().numpy() for x in (logits, pooled.embedding, means))
    weights = np.split(pooled.attention.float().cpu().numpy(), offsets[1:-1].cpu().numpy())
    return [
        BagPrediction(raw[b], probabilities[b], inner[b], weights[b], seen[b])
        for b in range(len(raw))
    ]


def _foreign_weights(weights: str | Path) -> InputError:
    return InputError(
        "these are not the weights of the model that is described",
        file=weights,
        remedy="Take the weights and the description from the same run",
        code="foreign_weights",
    )


@torch.inference_mode()
def tile_contributions(model: SlideNetwork, rows: np.ndarray) -> np.ndarray:
    """Return what each instance of a bag (n x D) adds to each logit (n x C, float32).

    With the classifier's bias they sum to the bag's logits, exactly: unlike attention, which says
    where the model looked, they say what it saw there, and in favour of which class.

    Raises
    ------
    InputError
        Code ``not_additive``: another aggregator than additive attention, or a cosine classifier.
    """
    if not isinstance(model.aggregator, AdditiveAttention) or not isinstance(
        model.classifier, torch.nn.Linear
    ):
        raise InputError(
            f"contributions of tiles are not defined for {type(model.aggregator).__name__}",
            remedy="Train with aggregator additive_attention",
            code="not_additive",
        )
    trained = model.training
    model.eval()
    batch = Bags.pack([rows]).to(model.centre.device)
    parts, _ = model.aggregator.parts(model.instances(batch.rows), batch.offsets)
    model.train(trained)
    return np.asarray((parts @ model.classifier.weight.T).float().cpu().numpy())
