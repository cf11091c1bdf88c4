"""Trains SC-MIL in this process, as a rank of torchrun or alone; ``python ranks_driver.py FOLDER``."""

import sys

import numpy as np
import torch

from offsite.pathology.bags import Bags
from offsite.pathology.method_plan import with_method
from offsite.pathology.methods import METHODS
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.training.fit.loop import fit
from offsite.training.fit.settings import FitSettings
from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.plans import PlannedSource


def main(folder):
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [16, 5, 4])
    bags = [rng.normal(label, 1, (int(rng.integers(3, 40)), 6)) for label in labels]

    def load(indices, epoch, times):
        return Bags.pack([bags[i] for i in indices], labels[indices].tolist(), indices.tolist())

    torch.manual_seed(0)
    settings = ScMilSettings.model_validate(
        {"aggregator": {"width": 16, "dropout": 0.0}, "site_jitter": 0.2}
    )
    model = ScMil(6, 3, with_method(METHODS["sc_mil"], settings), np.bincount(labels))
    source = PlannedSource(ClassAwareBatches(labels, 9, 0), load)
    fit(model, source, FitSettings(epochs=5, learning_rate=0.01, device="cpu"), folder)


if __name__ == "__main__":
    main(sys.argv[1])
