import numpy as np
import pytest
import torch

from offsite.retina.evidence_map import evidence_maps
from offsite.retina.inference import grade, grade_with_maps
from offsite.retina.networks.classifier import build_classifier
from offsite.retina.settings import BackboneSettings


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)


def log_odds(logits, positive):
    chances = torch.softmax(torch.tensor(logits).double(), dim=1)
    share = chances[:, positive].sum(dim=1)
    return (share.log() - (1 - share).log()).numpy()


@pytest.mark.parametrize("head", ["linear", "corn", "grade"])
def test_grades_are_those_of_the_one_inference_and_maps_average_to_embeddings(pictures, head):
    network = build_classifier(BackboneSettings(width=4), 5, seed=1, head=head).eval()
    found = grade_with_maps(network, pictures)
    plain = grade(network, lambda rows: pictures[rows], 3)
    assert (found.logits == plain.logits).all()
    assert np.allclose(found.maps.mean(axis=(2, 3)), found.embeddings, atol=1e-6)


def test_of_two_classes_and_a_linear_head_the_mean_is_the_log_odds_but_for_the_bias(pictures):
    network = build_classifier(BackboneSettings(width=4), 2, seed=1).eval()
    found = grade_with_maps(network, pictures)
    maps = evidence_maps(network.classifier, found.embeddings, found.maps, [1])
    bias = network.classifier.bias.detach().numpy()
    wanted = log_odds(found.logits, [1]) - (bias[1] - bias[0])
    assert np.allclose(maps.mean(axis=(1, 2)), wanted, atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "corn", "grade"])
def test_a_place_adds_what_a_small_change_of_it_adds(pictures, head):
    network = build_classifier(BackboneSettings(width=4), 5, seed=1, head=head).eval()
    found = grade_with_maps(network, pictures)
    maps = evidence_maps(network.classifier, found.embeddings, found.maps, [2, 3, 4])
    step, cells = 1e-2, maps[0].size
    more = found.maps.copy()
    more[:, :, 1, 2] *= 1 + step
    with torch.inference_mode():
        before, after = (
            log_odds(network.classifier(torch.tensor(m.mean(axis=(2, 3)))).numpy(), [2, 3, 4])
            for m in (found.maps, more)
        )
    assert np.allclose((after - before) * cells / step, maps[:, 1, 2], rtol=0.05, atol=0.02)
