"""A real model of 300 weights on photographs, for what does not need a trained one.

Run as a program it predicts as the command does: ``python -m tests.workflows.tiny OUT INPUTS...``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from offsite.preprocessing.views import shrunk
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import (
    ModelAnswer,
    Predictor,
    Prepared,
    Quality,
    Rejected,
)
from offsite.training.prediction.items import Item
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.predict.batch import BatchOptions, Outcome, run_batch
from offsite.workflows.predict.inputs.listing import find_inputs
from tests.workflows.packages import small_record


def network() -> nn.Sequential:
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), *pooled).eval()


class TinyPredictor:
    """Photographs to three classes; anything that OpenCV cannot read is not an image."""

    batch_size = 8
    concurrent = False

    def __init__(self, package: Package) -> None:
        self.model = network()
        self.model.load_state_dict(package.weights, strict=True)

    def prepare(self, item: Item) -> Prepared:
        content = np.fromfile(item.path, np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise Rejected(Code.NOT_AN_IMAGE, "the file is not an image")
        pixels = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
        dark = float(pixels.mean()) < 4
        return Prepared(
            payload=torch.from_numpy(pixels).permute(2, 0, 1).float() / 255,
            view=shrunk(image),
            quality=Quality(gradable=not dark, score=0.5, reasons=("dark",) if dark else ()),
            facts={"width": image.shape[1], "height": image.shape[0]},
        )

    @torch.inference_mode()
    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        pixels = torch.stack([prepared.payload for prepared in batch])
        embedding = self.model[:-1](pixels)
        logits = 40 * self.model[-1](embedding)
        return [
            ModelAnswer(logits=row, embedding=inner)
            for row, inner in zip(logits.numpy(), embedding.numpy(), strict=True)
        ]

    def shrink(self) -> bool:
        return False

    def describe(self) -> dict[str, Any]:
        return {"side_px": 32}


def tiny_package(folder: Path, **changes: Any) -> Package:
    write_package(folder, small_record(**changes), network().state_dict(), {})
    return load_package(folder)


def photographs(folder: Path, count: int, seed: int = 0, side: int = 48) -> list[Path]:
    """Write images that differ in colour and noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        colour = rng.uniform(30, 225, 3)
        pixels = np.clip(rng.normal(colour, 20, (side, side, 3)), 0, 255).astype(np.uint8)
        path = folder / f"photo {number:04d}.png"
        cv2.imwrite(str(path), pixels)
        paths.append(path)
    return paths


def predict(
    package: Package,
    inputs: Sequence[Path],
    output: Path,
    predictor: Predictor | None = None,
    site: str = "north",
    **options: Any,
) -> Outcome:
    found = find_inputs(inputs, site=site, leave_out=output)
    chosen = BatchOptions(output=output, **options)
    return run_batch(package, predictor or TinyPredictor(package), found, chosen)


if __name__ == "__main__":
    where, package_folder, *names = map(Path, sys.argv[1:])
    sys.exit(predict(load_package(package_folder), names, where).exit_code)
