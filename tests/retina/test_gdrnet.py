import numpy as np
import pytest
import torch

from offsite.retina.gdrnet import Gdrnet, smoothed_weights, view_contrast
from offsite.retina.networks.classifier import build_classifier
from offsite.retina.photographs.batches import PhotographBatch
from offsite.retina.settings import BackboneSettings, GdrnetSettings


def test_weights_are_the_inverse_of_the_smoothed_share():
    # shares .64 and .36, square roots .8 and .6, of 1.4
    assert smoothed_weights(np.array([64, 36]), 0.5).tolist() == pytest.approx([1.75, 1.4 / 0.6])
    assert smoothed_weights(np.array([50, 50, 0]), 0.5).tolist() == pytest.approx([2, 2, 1])


def test_the_contrast_of_orthogonal_pairs_is_the_closed_form():
    own = torch.eye(3)
    expected = -torch.log(torch.tensor(1.0).exp() / (torch.tensor(1.0).exp() + 4))
    assert view_contrast(own, own, 1.0).item() == pytest.approx(expected.item() / 0.07, rel=1e-5)


def test_the_unsupervised_part_fades_from_all_to_nothing():
    torch.manual_seed(0)
    gdrnet = Gdrnet(
        build_classifier(BackboneSettings(width=4), 3, 0), GdrnetSettings(), np.array([4, 3, 2]),
        np.array([5, 4]),
    )  # fmt: skip
    batch = PhotographBatch(
        torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 0, 1]),
        second=torch.randn(4, 3, 32, 32),
    )  # fmt: skip
    begin, end = gdrnet.step(batch, 0.0), gdrnet.step(batch, 1.0)
    assert begin["loss"].item() == pytest.approx(begin["contrast"].item() / 4)
    assert end["loss"].item() == pytest.approx(end["supervised"].item())


def test_without_a_second_view_it_says_so():
    gdrnet = Gdrnet(
        build_classifier(BackboneSettings(width=4), 3, 0), GdrnetSettings(), np.array([1, 1, 1]),
        np.array([3]),
    )  # fmt: skip
    batch = PhotographBatch(torch.zeros(2, 3, 32, 32), torch.zeros(2).long(), torch.zeros(2).long())
    with pytest.raises(ValueError, match="second view"):
        gdrnet.step(batch, 0.0)
