import numpy as np
import pytest
import torch

from offsite.errors import InputError
from offsite.retina.deco.algorithm import Deco
from offsite.retina.deco.decoupling import decouple, recombine
from offsite.retina.methods import CONTROL, TALLY
from offsite.retina.networks.classifier import FundusClassifier, build_classifier
from offsite.retina.photographs.batches import PhotographBatch
from offsite.retina.settings import BackboneSettings, DecoSettings
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.settings import LossSettings
from offsite.training.samplers.pairs import PairBatches
from offsite.training.samplers.weighted import WeightedBatches

BACKBONE = BackboneSettings(width=4)
CLASSES, SITES = np.array([40, 10, 5]), np.array([30, 25])


def make_deco(seed=0, **settings):
    network = build_classifier(BACKBONE, 3, seed)
    loss = ClassificationLoss(LossSettings(), CLASSES)
    return Deco(network, loss, DecoSettings(**settings), CLASSES, SITES, px=32)


def make_batch(n=6, paired=True, n_sites=2):
    torch.manual_seed(7)
    labels = torch.arange(n) % 3
    half = torch.arange(n) >= n // 2
    sites = half.long() if n_sites == 2 else torch.zeros(n, dtype=torch.int64)
    return PhotographBatch(torch.randn(n, 3, 32, 32), labels, sites, paired=paired)


def step(deco, batch, seed=3):
    torch.manual_seed(seed)
    deco.train()
    return deco.step(batch, 0.5)


def test_in_evaluation_it_is_the_plain_network():
    deco, batch = make_deco().eval(), make_batch()
    step(make_deco(), batch)
    output = deco(batch)
    plain = FundusClassifier(deco.backbone, deco.classifier)(batch.pixels)
    assert torch.equal(output.logits, plain.logits)
    assert torch.equal(output.embedding, plain.embedding)


def test_inference_state_is_the_networks_and_holds_no_prototype():
    deco = make_deco()
    state = deco.inference_state()
    assert set(state) == set(FundusClassifier(deco.backbone, deco.classifier).state_dict())


def test_with_full_shares_and_oneself_as_partner_the_mixed_features_are_the_original():
    deco = make_deco(weighting="none")
    deco._shares = lambda items, device: torch.ones(items, 2)
    batch = make_batch(3, paired=False)
    twice = PhotographBatch(
        batch.pixels.repeat(2, 1, 1, 1), batch.labels.repeat(2), batch.sites.repeat(2), paired=True
    )
    features = deco.backbone.early(twice.pixels)
    mixed = deco._mixed(decouple(features), twice, 3)
    assert torch.allclose(mixed, features[:3], atol=1e-4)


def test_without_prototypes_the_swap_is_the_partners_style_on_the_anchor():
    deco = make_deco(class_prototypes=False, site_prototypes=False)
    batch = make_batch()
    features = deco.backbone.early(batch.pixels)
    parts = decouple(features)
    expected = recombine(parts.semantics[:3], parts.mean[3:], parts.sd[3:])
    assert torch.equal(deco._mixed(parts, batch, 3), expected)


def test_gamma_zero_is_tally():
    tally = make_deco(**TALLY)
    powered = make_deco(**{**TALLY, "weighting": "power", "gamma": 0.0})
    for _ in range(3):
        one, other = step(tally, make_batch()), step(powered, make_batch())
        assert torch.equal(one["loss"], other["loss"])
    assert all(torch.equal(a, b) for a, b in zip(tally.buffers(), powered.buffers(), strict=True))


def test_rare_classes_keep_more_of_themselves():
    deco = make_deco(gamma=0.5)
    assert deco.class_weights.tolist() == pytest.approx([(5 / 40) ** 0.5, (5 / 10) ** 0.5, 1.0])
    assert deco.site_weights.tolist() == pytest.approx([(25 / 30) ** 0.5, 1.0])


def test_unknown_prototypes_leave_the_sample_alone():
    deco = make_deco()
    batch = make_batch()
    parts = decouple(deco.backbone.early(batch.pixels))
    expected = recombine(parts.semantics[:3], parts.mean[3:], parts.sd[3:])
    assert torch.allclose(deco._mixed(parts, batch, 3), expected)


def test_the_prototypes_of_a_step_are_those_before_its_batch():
    deco = make_deco()
    step(deco, make_batch())
    before = deco.prototypes.class_mass.clone()
    step(deco, make_batch())
    assert (deco.prototypes.class_mass > before).all()


def test_a_plain_batch_warms_prototypes_up_with_the_loss_of_plain_training():
    deco, plain = make_deco(), make_deco(**CONTROL)
    batch = make_batch(paired=False)
    assert torch.equal(step(deco, batch)["loss"], step(plain, batch)["loss"])
    assert deco.prototypes.class_mass.tolist() == pytest.approx([0.2] * 3)
    assert plain.prototypes.class_mass.tolist() == [0, 0, 0]


def test_the_control_trains_on_the_anchors_and_ignores_the_partners():
    batch = make_batch()
    other = PhotographBatch(
        torch.cat([batch.pixels[:3], torch.randn(3, 3, 32, 32)]), batch.labels, batch.sites,
        paired=True,
    )  # fmt: skip
    assert torch.equal(
        step(make_deco(**CONTROL), batch)["loss"], step(make_deco(**CONTROL), other)["loss"]
    )


def test_one_site_trains():
    deco = Deco(
        build_classifier(BACKBONE, 3, 0), ClassificationLoss(LossSettings(), CLASSES),
        DecoSettings(), CLASSES, np.array([55]), px=32,
    )  # fmt: skip
    losses = [step(deco, make_batch(n_sites=1))["loss"] for _ in range(2)]
    assert all(torch.isfinite(loss) for loss in losses)


def test_equal_seeds_give_equal_losses_and_others_do_not():
    assert torch.equal(
        step(make_deco(), make_batch())["loss"], step(make_deco(), make_batch())["loss"]
    )
    warm = make_deco(), make_deco()
    for deco in warm:
        step(deco, make_batch())
    assert step(warm[0], make_batch(), 4)["loss"] != step(warm[1], make_batch(), 5)["loss"]


def test_mixed_precision_stays_finite_and_near_full_precision():
    exact, mixed = make_deco(), make_deco()
    for _ in range(2):
        full = step(exact, make_batch())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = step(mixed, make_batch())
    half["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in mixed.parameters() if p.grad is not None)
    assert half["loss"].item() == pytest.approx(full["loss"].item(), rel=0.1)


def test_every_part_of_the_network_gets_a_gradient():
    deco = make_deco()
    step(deco, make_batch())["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in deco.parameters())


def test_alignment_on_a_map_of_one_pixel_is_refused():
    with pytest.raises(InputError, match="one pixel"):
        Deco(
            build_classifier(BACKBONE, 3, 0), ClassificationLoss(LossSettings(), CLASSES),
            DecoSettings(), CLASSES, SITES, px=16,
        )  # fmt: skip


@pytest.mark.parametrize("weighting", ["none", "power", "complement", "effective"])
@pytest.mark.parametrize("part", ["class_prototypes", "site_prototypes", "restandardise"])
def test_each_part_can_be_switched(weighting, part):
    deco = make_deco(weighting=weighting, **{part: part == "restandardise"})
    for _ in range(2):
        losses = step(deco, make_batch())
    assert torch.isfinite(losses["loss"])


def test_with_the_default_weight_a_style_foretells_no_class():
    labels = np.repeat([0, 1, 2, 0, 1, 2], [50, 5, 2, 3, 40, 30])
    sites = np.repeat([0, 1, 1, 2, 2, 0], [50, 5, 2, 3, 40, 30])
    counts = np.bincount(labels), np.bincount(sites)
    deco = Deco(
        build_classifier(BACKBONE, 3, 0), ClassificationLoss(LossSettings(), counts[0]),
        DecoSettings(), *counts, px=32,
    )  # fmt: skip
    plan = PairBatches(WeightedBatches(labels, 60, 0, exponent=0.0), sites, 0)
    seen = np.zeros((2, 3, 3))  # unmixed or mixed, class, site of the style
    for epoch in range(150):
        for anchor, partner in np.concatenate(plan.batches(epoch)):
            seen[0, labels[anchor], sites[anchor]] += 1
            seen[1, labels[anchor], sites[partner]] += 1
    plain, mixed = (part / part.sum(axis=1, keepdims=True) for part in seen)
    assert np.ptp(plain, axis=0).max() > 0.8
    together = deco.original_weight * plain + mixed
    assert np.ptp(together, axis=0).max() < 0.03


def test_the_weight_of_the_unmixed_follows_the_sites_unless_it_is_given():
    network, loss = build_classifier(BACKBONE, 3, 0), ClassificationLoss(LossSettings(), CLASSES)

    def weight(sites, **settings):
        return Deco(
            network, loss, DecoSettings(**settings), CLASSES, np.array(sites), px=32
        ).original_weight

    assert weight([9, 8, 7, 6]) == pytest.approx(1 / 3)
    assert weight([9, 8, 0]) == weight([9]) == 1
    assert weight([9, 8, 7, 6], original_weight=0.5) == 0.5
    assert weight([9, 8, 7, 6], swap=False) == 1
