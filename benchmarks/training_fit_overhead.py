"""What the fit loop costs over a bare PyTorch loop that does the same steps.

Two networks: a small head on features, whose steps are so short that any overhead shows, and a thin
residual network on 64 px images. Both loops seed each step, schedule the learning rate and step
AdamW; the fit loop also keeps loss means, writes curves and, where named, averages weights.
CPU seconds of the process, best of the repeats, alternating.

    python benchmarks/training_fit_overhead.py [--repeats 5]
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

from offsite.training.fit.loop import fit
from offsite.training.fit.settings import FitSettings
from offsite.training.generalisation.erm import ERM
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.settings import LossSettings
from offsite.training.randomness import seed_of
from offsite.training.samplers.plans import PlannedSource, RandomBatches


@dataclass(frozen=True)
class Images:
    """A batch."""

    pixels: Tensor
    labels: Tensor

    def to(self, device):  # noqa: D102
        return Images(self.pixels.to(device), self.labels.to(device))

    def __len__(self):
        return len(self.labels)


class Block(nn.Module):
    """A residual block that halves the size."""

    def __init__(self, inside, outside):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, 2, 1),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1),
            nn.BatchNorm2d(outside),
        )
        self.skip = nn.Conv2d(inside, outside, 1, 2)

    def forward(self, x):  # noqa: D102
        return torch.relu(self.body(x) + self.skip(x))


def head_on_features():
    """Return a layer on features, the shape of an item, its features and the steps of an epoch."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU()), (64,), 64, 1000


def thin_residual_network():
    """Return a small convolutional network, and the same of it."""
    widths = [3, 16, 32, 64]
    blocks = [Block(a, b) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 64, 64), 64, 20


def problem(kind):
    """Return algorithm, source of batches and steps of an epoch of a kind of network."""
    torch.manual_seed(0)
    backbone, shape, features, steps = kind()
    data = Images(torch.randn(16 * steps, *shape), torch.randint(0, 5, (16 * steps,)))
    loss = ClassificationLoss(LossSettings(), np.ones(5))
    algorithm = ERM(backbone, nn.Linear(features, 5), loss)

    def load(indices, epoch, times):
        at = torch.from_numpy(indices)
        return Images(data.pixels[at], data.labels[at])

    return algorithm, PlannedSource(RandomBatches(len(data.labels), 16), load), steps


def bare(algorithm, source, settings, steps):
    """Train in a plain loop, without `offsite.training.fit.loop`."""
    optimiser = torch.optim.AdamW(algorithm.parameters(), weight_decay=settings.weight_decay)
    algorithm.train()
    for epoch in range(settings.epochs):
        for step, batch in enumerate(source.batches(epoch)):
            progress = (epoch * steps + step) / (settings.epochs * steps - 1)
            torch.default_generator.manual_seed(seed_of(0, epoch, step, 0))
            optimiser.param_groups[0]["lr"] = settings.learning_rate_at(progress)
            loss = algorithm.step(batch, progress)["loss"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def measure(kind, changes, repeats):
    """Return ms of a step in the plain loop and in `fit`, and their ratio."""
    settings = FitSettings(epochs=2, device="cpu", **changes)
    best = {"bare": np.inf, "fit": np.inf}
    for _ in range(repeats):
        for loop in best:
            algorithm, source, steps = problem(kind)
            with tempfile.TemporaryDirectory() as folder:
                start = time.process_time()
                if loop == "bare":
                    bare(algorithm, source, settings, steps)
                else:
                    fit(algorithm, source, settings, folder)
                best[loop] = min(best[loop], time.process_time() - start)
    per_step = {loop: 1000 * seconds / (2 * steps) for loop, seconds in best.items()}
    return per_step | {"ratio": best["fit"] / best["bare"]}


def main():
    """Time every kind and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # imports and first calls
        algorithm, source, _ = problem(head_on_features)
        fit(algorithm, source, FitSettings(epochs=1, device="cpu"), folder)
    print(f"{'network':<24}{'fit loop':<24}{'bare ms':>9}{'fit ms':>9}{'ratio':>8}")
    results = []
    for kind in (head_on_features, thin_residual_network):
        for changes in ({"prefetch": 0}, {"prefetch": 2}, {"prefetch": 0, "averaging": "ema"}):
            row = measure(kind, changes, repeats)
            name = ", ".join(f"{key} {value}" for key, value in changes.items())
            print(
                f"{kind.__name__.replace('_', ' '):<24}{name:<24}"
                f"{row['bare']:>9.3f}{row['fit']:>9.3f}{row['ratio']:>8.3f}"
            )
            results.append({"network": kind.__name__, "fit": changes, **row})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
