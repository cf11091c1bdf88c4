"""Learning rates by depth: the head learns at the full rate, each stage before it more slowly."""

import numpy as np
import pytest
import torch

from offsite.retina.networks.backbones import build_backbone
from offsite.retina.networks.classifier import build_classifier
from offsite.retina.photographs.batches import PhotographBatch
from offsite.retina.settings import BackboneSettings
from offsite.training.fit.engine import Engine
from offsite.training.fit.settings import FitSettings
from offsite.training.generalisation.erm import ERM
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.settings import LossSettings


def algorithm(**backbone):
    settings = BackboneSettings(**backbone)
    network = build_classifier(settings, 3, seed=0, first_weights=False)
    loss = ClassificationLoss(LossSettings.model_validate({}), np.ones(3, np.int64))
    return ERM(network.backbone, network.classifier, loss)


@pytest.mark.parametrize("name", ["thin_resnet18", "efficientnet-lite0", "resnet18", "densenet121"])
def test_rates_fall_from_the_end_to_the_beginning(name):
    made = algorithm(name=name, rate_by_depth=0.5)
    names = [name for name, _ in made.named_parameters()]
    rates = [made.rate_of(name) for name in names if name.startswith("backbone.")]
    assert rates == sorted(rates)
    assert rates[-1] == 0.5
    assert rates[0] < 0.1
    assert {made.rate_of(name) for name in names if name.startswith("classifier.")} == {1.0}


def test_the_stages_of_the_trunk_are_its_parts():
    backbone = build_backbone(
        BackboneSettings(name="efficientnet-lite0", rate_by_depth=0.5), first_weights=False
    )
    assert backbone.rate_of("net.top.0.weight") == 0.5
    assert backbone.rate_of("net.stages.6.0.project.0.weight") == 0.25
    assert backbone.rate_of("net.stem.0.weight") == 0.5**9


def test_a_step_moves_each_part_by_its_rate():
    made = algorithm(width=4, rate_by_depth=0.5)
    before = {name: value.detach().clone() for name, value in made.named_parameters()}
    fit = FitSettings(learning_rate=0.01, weight_decay=0, schedule="constant", device="cpu")
    engine = Engine(made, fit)
    pixels = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = PhotographBatch(pixels, torch.arange(8) % 3, torch.zeros(8, dtype=torch.int64))
    engine.step(batch, 0.0, 0, 0)
    # The first step of Adam moves a number by the learning rate, whatever its gradient.
    for name, value in made.named_parameters():
        moved = float((value.detach() - before[name]).abs().max())
        if moved:
            assert moved == pytest.approx(0.01 * made.rate_of(name), rel=0.02), name
