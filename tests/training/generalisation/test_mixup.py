"""Mixup and its decoupled term: against loops over items, and where it is something else."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from problem import Points, general, points, settings, source
from torch import nn

from offsite.errors import InputError
from offsite.training.fit.loop import fit
from offsite.training.generalisation.making import make_algorithm
from offsite.training.generalisation.mixing import beta_draws, partners
from offsite.training.generalisation.mixup import decoupled_term, near_partners
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.settings import LossSettings


def test_mixup_is_the_loss_of_both_labels_in_their_shares():
    data = points(12)
    algorithm = general("mixup", alpha=0.4)()
    torch.manual_seed(5)
    loss = algorithm.step(data, 0.0)["loss"]
    torch.manual_seed(5)
    partner = partners(data.sites, 12, other_site=True)
    share = beta_draws(0.4, 1).item()
    mixed = Points(share * data.pixels + (1 - share) * data.pixels[partner], data.labels, None)
    logits = algorithm(mixed).logits
    expected = share * F.cross_entropy(logits, data.labels)
    expected = expected + (1 - share) * F.cross_entropy(logits, data.labels[partner])
    torch.testing.assert_close(loss, expected)


def in_a_loop(z, first, second, weights):
    total = 0.0
    for item, a, b in zip(z, first.tolist(), second.tolist(), strict=True):
        if a == b or min(a, b) < 0:
            continue
        for judged, removed in ((a, b), (b, a)):
            others = torch.stack([item[c] for c in range(len(item)) if c != removed])
            total = total - weights[judged] * (item[judged] - others.logsumexp(0))
    return total / len(z)


def test_the_decoupled_term_is_that_of_a_loop_over_items():
    torch.manual_seed(0)
    z, weights = torch.randn(9, 4), torch.tensor([0.5, 1.0, 2.0, 3.0])
    first, second = torch.randint(0, 4, (9,)), torch.randint(0, 4, (9,))
    first[0], second[1] = -1, -1
    first[2] = second[2]
    torch.testing.assert_close(
        decoupled_term(z, first, second, weights), in_a_loop(z, first, second, weights)
    )
    torch.testing.assert_close(
        decoupled_term(z, first, second), in_a_loop(z, first, second, torch.ones(4))
    )


def test_its_gradient_is_finite_and_pushes_both_classes_above_the_third():
    z = torch.zeros(1, 3, requires_grad=True)
    decoupled_term(z, torch.tensor([0]), torch.tensor([1])).backward()
    torch.testing.assert_close(z.grad, torch.tensor([[-0.5, -0.5, 1.0]]))


def test_of_two_classes_it_is_nothing_and_refused():
    z = torch.randn(6, 2)
    first = torch.tensor([0, 1, 0, 1, 0, 1])
    assert decoupled_term(z, first, first.flip(0)).item() == 0.0
    asked = GeneralisationSettings(kind="mixup", decoupled=0.1)
    two = ClassificationLoss(LossSettings(), torch.ones(2).numpy())
    with pytest.raises(InputError, match="is mixup") as caught:
        make_algorithm(asked, nn.Linear(4, 4), nn.Linear(4, 2), two, 1)
    assert caught.value.code == "nothing_to_decouple"


@pytest.mark.parametrize("kind", ["focal", "ldam_drw"])
def test_a_loss_without_a_softmax_of_its_logits_is_refused(kind):
    asked = GeneralisationSettings(kind="mixup", decoupled=0.1)
    loss = ClassificationLoss(LossSettings(kind=kind), torch.ones(3).numpy())
    with pytest.raises(InputError) as caught:
        make_algorithm(asked, nn.Linear(4, 4), nn.Linear(4, 3), loss, 1)
    assert caught.value.code == "unfit_loss"


@pytest.mark.parametrize(
    "kind", ["cross_entropy", "balanced_softmax", "logit_adjustment", "weighted"]
)
def test_a_step_shifts_the_logits_before_it_takes_a_class_out(kind):
    counts, data = torch.tensor([20.0, 5.0, 2.0]), points(12)
    loss = ClassificationLoss(LossSettings(kind=kind, tau=0.5), counts.numpy())
    given = GeneralisationSettings(kind="mixup", alpha=1.0, decoupled=0.3)
    algorithm = make_algorithm(given, nn.Linear(4, 5), nn.Linear(5, 3), loss, 2)
    torch.manual_seed(5)
    losses = algorithm.step(data, 0.0)
    torch.manual_seed(5)
    partner = partners(data.sites, 12, other_site=True)
    share = beta_draws(1.0, 1).item()
    mixed = share * data.pixels + (1 - share) * data.pixels[partner]
    logits, other = algorithm.classifier(algorithm.backbone(mixed)), data.labels[partner]
    tau = {"balanced_softmax": 1.0, "logit_adjustment": 0.5}.get(kind, 0.0)
    weights = torch.ones(3) if loss.class_weights is None else loss.class_weights
    term = in_a_loop(logits + tau * counts.log(), data.labels, other, weights)
    plain = share * loss(logits, data.labels, 0.0) + (1 - share) * loss(logits, other, 0.0)
    torch.testing.assert_close(losses["loss"], plain + 0.3 * term)


def test_until_0_is_plain_training_to_the_last_bit_and_until_1_mixes_to_the_last_step():
    data = points(12)
    for progress in (0.0, 0.4, 1.0):
        never, plain = general("mixup", until=0.0)(), general("erm")()
        torch.manual_seed(5)
        losses = never.step(data, progress)
        assert losses.keys() == {"loss"}
        assert torch.equal(losses["loss"], plain.step(data, progress)["loss"])
    always, half = general("mixup", alpha=1.0)(), general("mixup", alpha=1.0, until=0.5)()
    for progress, alike in ((0.49, True), (0.5, False), (1.0, False)):
        torch.manual_seed(5)
        mixed = always.step(data, progress)["loss"]
        torch.manual_seed(5)
        assert torch.equal(half.step(data, progress)["loss"], mixed) is alike


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 2)), min_size=1, max_size=14))
def test_adjacent_partners_are_of_a_neighbouring_grade_and_of_another_site_where_there_is_one(
    items,
):
    labels, sites = torch.tensor(items).T
    found = near_partners(labels, sites, other_site=True).tolist()
    for i, j in enumerate(found):
        near = [
            k for k in range(len(items))
            if k != i and min(labels[i], labels[k]) >= 0 and abs(labels[i] - labels[k]) <= 1
        ]  # fmt: skip
        abroad = [k for k in near if sites[k] != sites[i]]
        assert j in (abroad or near or [i])


def test_a_stopped_run_that_mixes_for_a_while_ends_with_the_same_weights(tmp_path):
    class Stopped(Exception):
        pass

    def stop(epoch, step):
        if (epoch, step) == (2, 3):
            raise Stopped

    data, made = points(40), general("mixup", alpha=1.0, decoupled=0.3, until=0.7, pairs="adjacent")
    given = settings(epochs=4, checkpoint_every_steps=1)
    fit(made(), source(data), given, tmp_path / "whole")
    with pytest.raises(Stopped):
        fit(made(), source(data, after=stop), given, tmp_path / "cut")
    fit(made(), source(data), given, tmp_path / "cut")
    whole, cut = (
        (tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "cut")
    )
    assert whole == cut
