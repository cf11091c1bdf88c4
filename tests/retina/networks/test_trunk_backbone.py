"""The trunk as a backbone that methods step through and train."""

import numpy as np
import torch

from offsite.retina.networks.backbones import build_backbone
from offsite.retina.photographs.batches import normalised, pixels_of
from offsite.retina.settings import BackboneSettings
from offsite.training.trunk.network import Lite0, trunk_input
from offsite.training.trunk.weights import trunk_state

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


def backbone(split_after=2):
    return build_backbone(BackboneSettings(name="efficientnet-lite0", split_after=split_after))


def test_normalised_pictures_come_back_as_the_pixels_they_were():
    pixels = pixels_of(normalised(PICTURES))
    assert np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), PICTURES)


@torch.inference_mode()
def test_it_begins_with_the_weights_in_the_box_whatever_the_split():
    net = Lite0()
    net.load_state_dict(trunk_state())
    expected = net.eval()(trunk_input(torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float()))
    for split_after in range(4):
        found = backbone(split_after).eval()
        last = found.late(found.early(normalised(PICTURES)))
        torch.testing.assert_close(last, expected)
        assert found(normalised(PICTURES)).shape == (2, found.dimensions)


def test_it_can_be_trained_from_there():
    found = backbone().train()
    found(normalised(PICTURES)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in found.parameters())
    for name in found.first_layers:
        assert found.get_submodule(name) is not None


def test_rebuilding_one_reads_no_weights(monkeypatch):
    monkeypatch.setattr("offsite.training.trunk.weights.trunk_state", None)
    build_backbone(BackboneSettings(name="efficientnet-lite0"), first_weights=False)
