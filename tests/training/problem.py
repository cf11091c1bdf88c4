"""A small problem that trains in milliseconds: two moons of points, a net with dropout."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from offsite.training.algorithm import Algorithm, Output
from offsite.training.devices.distributed import draw_together, gather
from offsite.training.fit.settings import FitSettings
from offsite.training.generalisation.making import make_algorithm
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.classification import cross_entropy
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.contrastive import supervised_contrastive
from offsite.training.losses.settings import LossSettings
from offsite.training.samplers.plans import PlannedSource, RandomBatches


@dataclass(frozen=True)
class Points:
    pixels: Tensor
    labels: Tensor
    sites: Tensor

    def to(self, device):
        return Points(self.pixels.to(device), self.labels.to(device), self.sites.to(device))

    def __len__(self):
        return len(self.labels)


def points(n=48, seed=0, n_sites=2):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    sites = rng.integers(0, n_sites, n)
    centres = np.array([[0, 2, 0, 0], [2, 0, 0, 0], [-2, -2, 0, 0]])
    pixels = centres[labels] + rng.normal(0, 0.7, (n, 4)) + 0.5 * sites[:, None]
    return Points(
        torch.tensor(pixels, dtype=torch.float32), torch.tensor(labels), torch.tensor(sites)
    )


class Net(Algorithm):
    def __init__(self, dropout=0.3, norm=True, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        # Batch norm takes a bias off again: its gradient is rounding, which Adam would blow up.
        layers = [
            nn.Linear(4, 16, bias=not norm),
            nn.BatchNorm1d(16) if norm else nn.Identity(),
            nn.ReLU(),
        ]
        self.body = nn.Sequential(*layers, nn.Dropout(dropout))
        self.head = nn.Linear(16, 3)

    def forward(self, batch):
        embedding = self.body(batch.pixels)
        return Output(self.head(embedding), embedding)

    def step(self, batch, progress):
        loss = cross_entropy(self(batch).logits, batch.labels)
        return {"loss": loss, "progress": torch.tensor(progress)}


def source(data, batch_size=8, seed=0, after=None):
    """``after(epoch, step)`` runs before a batch is given out."""
    plan = RandomBatches(len(data), batch_size, seed)

    def load(indices, epoch, times):
        at = torch.from_numpy(indices)
        return Points(data.pixels[at], data.labels[at], data.sites[at])

    planned = PlannedSource(plan, load)
    if after is None:
        return planned
    return Watched(planned, after)


class Watched:
    def __init__(self, planned, after):
        self.planned, self.after = planned, after

    def steps(self, epoch):
        return self.planned.steps(epoch)

    def batches(self, epoch, start=0):
        for step, batch in enumerate(self.planned.batches(epoch, start), start=start):
            self.after(epoch, step)
            yield batch


def validator(data):
    def validate(algorithm, epoch):
        assert not algorithm.training
        logits = algorithm(data).logits
        loss = float(cross_entropy(logits, data.labels))
        accuracy = float((logits.argmax(1) == data.labels).float().mean())
        return {"loss": loss, "accuracy": accuracy, "undefined": None}

    return validate


def lines(folder):
    """Return the curves of a run, a record for each epoch."""
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def settings(**changes):
    given = {"epochs": 4, "learning_rate": 0.02, "device": "cpu", "prefetch": 0, "warmup": 0.1}
    return FitSettings(**(given | changes))


class Contrast(Net):
    """Cross-entropy and contrast over the global batch, with draws made for it together."""

    def step(self, batch, progress):
        # Not contiguous: what a distribution draws often is not.
        noise = draw_together(lambda n: (0.1 * torch.randn(n, 4, 2))[..., 0], len(batch))
        out = self(Points(batch.pixels + noise, batch.labels, batch.sites))
        contrast = supervised_contrastive(
            gather(out.embedding), gather(batch.labels), 0.5, n_classes=3
        )
        loss = contrast.loss + cross_entropy(out.logits, batch.labels)
        return {"loss": loss, "valid_share": contrast.valid_share()[2]}


def exact(kind, norm=False):
    """Return a builder without dropout, which acts within a rank."""
    return lambda: kind(dropout=0.0, norm=norm)


class Backbone(nn.Module):
    """Maps of 2 x 2 px (``maps``), then 16 numbers."""

    def __init__(self, norm):
        super().__init__()
        self.first = nn.Linear(4, 16, bias=not norm)
        self.between = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.maps = nn.Unflatten(1, (4, 2, 2))

    def forward(self, x):
        return self.maps(self.between(self.first(x))).flatten(1).tanh()


def general(kind, n_sites=2, norm=False, **changes):
    """Return a builder of a domain-generalisation algorithm over a small backbone."""

    def build():
        torch.manual_seed(0)
        backbone = Backbone(norm)
        loss = ClassificationLoss(LossSettings(), np.ones(3))
        given = GeneralisationSettings(kind=kind, **changes)
        return make_algorithm(given, backbone, nn.Linear(16, 3), loss, n_sites)

    return build


COMPARING_SITES = ["coral", "group_dro", "irm", "vrex", "fishr"]
EXACT = {
    "cross-entropy": exact(Net),
    "contrast": exact(Contrast),
    "batch norm": exact(Contrast, norm=True),
    "mixup": general("mixup", alpha=1.0),
    "decoupled mixup": general("mixup", alpha=1.0, decoupled=0.5, until=0.5, pairs="adjacent"),
    "mixstyle": general("mixstyle", alpha=1.0, probability=0.8, layers=("maps",)),
} | {kind: general(kind, norm=kind in ("irm", "fishr")) for kind in COMPARING_SITES}
