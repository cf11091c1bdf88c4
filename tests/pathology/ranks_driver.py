"""Trains a method of slides in this process, as a rank of torchrun or alone.

``python ranks_driver.py FOLDER METHOD``
"""

import sys
from dataclasses import replace

import numpy as np
import torch

from offsite.pathology.bags import Bags
from offsite.pathology.inputs import Inputs, standardising
from offsite.pathology.method_plan import with_method
from offsite.pathology.methods import method_named
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.whitening import Moments, whitening
from offsite.training.fit.loop import fit
from offsite.training.fit.settings import FitSettings
from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.plans import PlannedSource


def main(folder, method):
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [16, 5, 4])
    bags = [rng.normal(label, 1, (int(rng.integers(3, 40)), 6)) for label in labels]

    def load(indices, epoch, times):
        views = [view for i in indices for view in np.array_split(bags[i], 2)]
        drawn = np.repeat(indices, 2)
        sites = (drawn % 3).tolist()
        batch = Bags.pack(views, labels[drawn].tolist(), drawn.tolist(), sites)
        return replace(batch, views=2)

    torch.manual_seed(0)
    settings = ScMilSettings.model_validate(
        {"aggregator": {"width": 16, "dropout": 0.0}, "site_jitter": 0.2}
    )
    moments = Moments.of(bags)
    scale = standardising(moments)
    asked = with_method(method_named(method), settings)
    model = ScMil(6, 3, asked, np.bincount(labels), directions=4, n_sites=3)
    model.take_inputs(Inputs(moments.mean, scale, whitening(moments, scale, 4, 0.5).directions))
    source = PlannedSource(ClassAwareBatches(labels, 9, 0), load)
    fit(model, source, FitSettings(epochs=5, learning_rate=0.01, device="cpu"), folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
