import numpy as np
import pytest
import torch

from offsite.retina.deco.decoupling import (
    Prototypes,
    decouple,
    rarity_weights,
    recombine,
    restandardised,
)


@pytest.fixture
def features():
    torch.manual_seed(0)
    return (
        torch.randn(6, 4, 5, 7) * (torch.rand(6, 4, 1, 1) + 0.1) * 9 + torch.randn(6, 4, 1, 1) * 3
    )


def test_semantics_have_zero_mean_and_unit_deviation_per_photograph_and_channel(features):
    semantics = decouple(features).semantics
    assert semantics.mean(dim=(2, 3)).abs().max() < 1e-5
    assert torch.allclose(semantics.std(dim=(2, 3), correction=0), torch.ones(6, 4), atol=1e-4)


def test_pooled_semantics_vanish_so_that_prototypes_must_be_maps(features):
    pooled = torch.nn.functional.adaptive_avg_pool2d(decouple(features).semantics, 1)
    assert pooled.abs().max() < 1e-5


def test_recombining_with_its_own_style_gives_the_features_back(features):
    parts = decouple(features)
    assert torch.allclose(recombine(*parts), features, atol=1e-4)


def test_recombining_with_another_style_gives_its_mean_and_deviation_and_not_the_reverse(features):
    parts = decouple(features)
    mixed = recombine(parts.semantics, parts.mean.roll(1, 0), parts.sd.roll(1, 0))
    other = features.roll(1, 0)
    assert torch.allclose(mixed.mean(dim=(2, 3)), other.mean(dim=(2, 3)), atol=1e-4)
    deviation = other.std(dim=(2, 3), correction=0)
    assert torch.allclose(mixed.std(dim=(2, 3), correction=0), deviation, rtol=1e-3)


def test_style_is_float32_and_exact_under_autocast(features):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = decouple(features)
    assert parts.mean.dtype == torch.float32
    assert torch.equal(parts.semantics, decouple(features).semantics)


def test_a_flat_map_has_finite_semantics_of_zero():
    assert decouple(torch.full((2, 3, 4, 4), 7.0)).semantics.abs().max() == 0


def test_mixing_two_maps_lowers_contrast_and_restandardising_restores_it(features):
    semantics = decouple(features).semantics
    mixed = 0.5 * semantics + 0.5 * semantics.roll(1, 0)
    assert mixed.std(dim=(2, 3), correction=0).max() < 0.95
    again = restandardised(mixed).std(dim=(2, 3), correction=0)
    assert torch.allclose(again, torch.ones(6, 4), atol=1e-4)


@pytest.mark.parametrize("rule", ["power", "complement", "effective"])
def test_rarer_classes_weigh_more_and_the_rarest_one(rule):
    weights = rarity_weights(np.array([500, 100, 20]), rule)
    assert 0 < weights[0] < weights[1] < weights[2] == 1


def test_power_weights_are_those_of_the_formula_and_one_at_gamma_zero():
    weights = rarity_weights(np.array([160, 10, 0]), "power", gamma=0.25)
    assert weights.tolist() == pytest.approx([0.5, 1, 1])
    assert rarity_weights(np.array([160, 10]), "power", gamma=0.0).tolist() == [1, 1]


def make_prototypes(features, n_classes=3, n_sites=2, momentum=0.8):
    return Prototypes(n_classes, n_sites, tuple(features.shape[1:]), momentum)


def test_absent_classes_and_sites_keep_their_prototypes(features):
    prototypes = make_prototypes(features)
    parts = decouple(features)
    prototypes.update(parts, torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 0, 1]))
    before = {name: tensor.clone() for name, tensor in prototypes.state_dict().items()}
    prototypes.update(parts, torch.tensor([0, 0, 1, 1, 0, 1]), torch.zeros(6, dtype=torch.int64))
    after = prototypes.state_dict()
    assert torch.equal(after["class_sum"][2], before["class_sum"][2])
    assert torch.equal(after["class_mass"][2], before["class_mass"][2])
    assert torch.equal(after["mean_sum"][1], before["mean_sum"][1])
    assert not torch.equal(after["class_sum"][0], before["class_sum"][0])


def test_a_prototype_that_met_no_item_is_marked_unknown(features):
    prototypes = make_prototypes(features)
    labels, sites = torch.tensor([0, 0, 0, 1, 1, 1]), torch.zeros(6, dtype=torch.int64)
    prototypes.update(decouple(features), labels, sites)
    assert prototypes.of_classes(torch.tensor([0, 1, 2]))[1].tolist() == [True, True, False]
    assert prototypes.of_sites(torch.tensor([0, 1]))[2].tolist() == [True, False]


def test_after_one_batch_the_prototype_is_its_mean_despite_momentum(features):
    prototypes = make_prototypes(features)
    parts = decouple(features)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    prototypes.update(parts, labels, torch.zeros(6, dtype=torch.int64))
    found, _ = prototypes.of_classes(torch.tensor([1]))
    assert torch.allclose(found[0], parts.semantics[3:].mean(0), atol=1e-5)


def test_class_prototypes_average_within_sites_first_so_no_site_stamps_them(features):
    prototypes = make_prototypes(features)
    parts = decouple(features)
    sites = torch.tensor([0, 0, 0, 0, 0, 1])
    prototypes.update(parts, torch.zeros(6, dtype=torch.int64), sites)
    found, _ = prototypes.of_classes(torch.tensor([0]))
    balanced = (parts.semantics[:5].mean(0) + parts.semantics[5]) / 2
    assert torch.allclose(found[0], balanced, atol=1e-5)


def test_site_prototypes_keep_mean_and_deviation_apart(features):
    prototypes = make_prototypes(features)
    parts = decouple(features)
    for _ in range(30):  # the published code exchanges the two once the moving average turns over
        prototypes.update(parts, torch.arange(6) % 3, torch.arange(6) % 2)
    mean, sd, _ = prototypes.of_sites(torch.tensor([0]))
    assert torch.allclose(mean[0], parts.mean[::2].mean(0), atol=1e-4)
    assert torch.allclose(sd[0], parts.sd[::2].mean(0), atol=1e-4)


def test_unlabelled_photographs_leave_prototypes_alone(features):
    prototypes = make_prototypes(features)
    prototypes.update(decouple(features), torch.full((6,), -1), torch.zeros(6, dtype=torch.int64))
    assert all(tensor.abs().max() == 0 for tensor in prototypes.state_dict().values())
