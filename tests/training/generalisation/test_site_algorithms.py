"""Formulas of the algorithms that compare sites."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problem import COMPARING_SITES, Points, general, points
from torch import nn

from offsite.errors import InputError
from offsite.training.generalisation.invariance import gradient_variance
from offsite.training.heads.ordinal import GradeHead
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.settings import LossSettings


@pytest.fixture
def data():
    return points(30, n_sites=3)


def rows(algorithm, data):
    with torch.no_grad():
        out = algorithm(data)
    return [
        (out.embedding[data.sites == d], out.logits[data.sites == d], data.labels[data.sites == d])
        for d in range(3)
    ]


def step(kind, data, progress=1.0, **changes):
    algorithm = general(kind, n_sites=3, **changes)()
    return algorithm, algorithm.step(data, progress)


def test_coral_is_the_distance_of_plain_means_and_covariances(data):
    algorithm, losses = step("coral", data, penalty_weight=0.7)
    moments = [(e.numpy().mean(0), np.cov(e.numpy().T)) for e, _, _ in rows(algorithm, data)]
    pairs = [
        ((m - n) ** 2).mean() + ((c - d) ** 2).mean()
        for i, (m, c) in enumerate(moments)
        for n, d in moments[i + 1 :]
    ]
    assert losses["penalty"].item() == pytest.approx(np.mean(pairs), rel=1e-4)
    expected = losses["risk"] + 0.7 * losses["penalty"]
    torch.testing.assert_close(losses["loss"], expected)


def test_vrex_is_the_variance_of_the_risks_and_waits_for_its_start(data):
    algorithm, late = step("vrex", data, progress=0.1)
    risks = [F.cross_entropy(z, y).item() for _, z, y in rows(algorithm, data)]
    assert late["penalty"].item() == pytest.approx(np.var(risks), rel=1e-4)
    assert late["risk"].item() == pytest.approx(np.mean(risks), rel=1e-5)
    assert late["loss"].item() == pytest.approx(np.mean(risks) + 10 * np.var(risks), rel=1e-4)
    _, early = step("vrex", data, progress=0.09)
    assert early["loss"].item() == pytest.approx(np.mean(risks) + np.var(risks), rel=1e-4)


def test_irm_is_the_product_of_the_halves_gradients_in_the_scale(data):
    algorithm, losses = step("irm", data)
    products = []
    for _, z, y in rows(algorithm, data):
        gradients = []
        for half in (0, 1):
            p = z[half::2].softmax(1)
            chosen = z[half::2][torch.arange(len(p)), y[half::2]]
            gradients.append(((p * z[half::2]).sum(1) - chosen).mean())
        products.append(gradients[0] * gradients[1])
    assert losses["penalty"].item() == pytest.approx(torch.stack(products).mean().item(), rel=1e-4)


def test_irm_penalty_has_the_gradient_of_finite_differences(data):
    algorithm = general("irm", n_sites=3)().double()
    data = Points(data.pixels.double(), data.labels, data.sites)
    algorithm.loss.forward = lambda z, y, progress: F.cross_entropy(z, y)  # stays float64
    weight = algorithm.classifier.weight
    weight.grad = None
    algorithm.step(data, 1.0)["penalty"].backward()
    with torch.no_grad():
        values = []
        for change in (1e-5, -2e-5):
            weight[1, 3] += change
            with torch.enable_grad():
                values.append(algorithm.step(data, 1.0)["penalty"].item())
    assert weight.grad[1, 3].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_fishr_variances_equal_those_of_a_loop_over_items(data):
    torch.manual_seed(0)
    head = nn.Linear(16, 3)
    embedding = torch.randn(9, 16)
    labels = torch.randint(0, 3, (9,))
    each = []
    for e, y in zip(embedding, labels, strict=True):
        head.zero_grad()
        F.cross_entropy(head(e[None]), y[None]).backward()
        each.append(torch.cat([head.weight.grad, head.bias.grad[:, None]], dim=1).flatten())
    expected = torch.stack(each).var(0, correction=0)
    got = gradient_variance(embedding, head(embedding), labels)
    torch.testing.assert_close(got, expected)


def test_fishr_compares_smoothed_variances_of_several_sites(data):
    algorithm, first = step("fishr", data, decay=0.9)
    new = torch.stack([gradient_variance(*site) for site in rows(algorithm, data)])
    penalty = (new - new.mean(0)).square().mean()
    assert penalty > 0  # unlike a benchmark's variant with one group
    torch.testing.assert_close(first["penalty"], penalty, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(algorithm.objective.variance, 0.1 * new)
    second = algorithm.step(data, 1.0)
    smoothed = (0.9 * 0.1 * new + 0.1 * new) / 0.1
    penalty = (smoothed - smoothed.mean(0)).square().mean()
    torch.testing.assert_close(second["penalty"], penalty, rtol=1e-4, atol=1e-9)
    assert not any("variance" in name for name in algorithm.inference_state())


def test_group_dro_moves_weights_towards_the_worst_site(data):
    algorithm, losses = step("group_dro", data, eta=0.5)
    risks = np.array([F.cross_entropy(z, y).item() for _, z, y in rows(algorithm, data)])
    weights = np.exp(0.5 * risks) / np.exp(0.5 * risks).sum()
    np.testing.assert_allclose(algorithm.objective.site_weights.numpy(), weights, rtol=1e-5)
    assert losses["loss"].item() == pytest.approx((weights * risks).sum(), rel=1e-5)
    assert losses["worst_risk"].item() == pytest.approx(risks.max(), rel=1e-5)
    for _ in range(60):
        algorithm.step(data, 1.0)
    assert algorithm.objective.site_weights.argmax() == risks.argmax()
    assert algorithm.objective.site_weights.sum().item() == pytest.approx(1)


def test_group_dro_keeps_the_weight_of_an_absent_site(data):
    algorithm = general("group_dro", n_sites=3, eta=0.5)()
    some = data.sites != 1
    algorithm.step(Points(data.pixels[some], data.labels[some], data.sites[some]), 1.0)
    weights = algorithm.objective.site_weights
    assert weights[1] < weights[[0, 2]].min()
    assert weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["erm", "mixup", *COMPARING_SITES])
@pytest.mark.parametrize("changes", [{}, {"sites": 0}, {"labels": -1}, {"n": 1}])
def test_one_site_one_item_or_no_label_neither_crash_nor_harm(kind, changes, data):
    n = changes.get("n", 12)
    labels = data.labels[:n] if "labels" not in changes else torch.full((n,), -1)
    sites = data.sites[:n] if "sites" not in changes else torch.zeros(n, dtype=torch.int64)
    algorithm = general(kind, n_sites=3)()
    losses = algorithm.step(Points(data.pixels[:n], labels, sites), 1.0)
    losses["loss"].backward()
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in algorithm.parameters())
    if {"sites", "n"} & set(changes) and "penalty" in losses:
        assert losses["penalty"].item() == 0.0
        torch.testing.assert_close(losses["loss"], losses["risk"])


@pytest.mark.parametrize("kind", ["irm", "fishr"])
def test_a_head_that_does_not_fit_is_refused(kind):
    from offsite.training.generalisation.making import make_algorithm
    from offsite.training.generalisation.settings import GeneralisationSettings

    loss = ClassificationLoss(LossSettings(), np.ones(3))
    with pytest.raises(InputError) as caught:
        make_algorithm(
            GeneralisationSettings(kind=kind), nn.Identity(), GradeHead(4, 3), loss, n_sites=2
        )
    assert caught.value.code == "unfit_head"


def test_an_ordinal_head_brings_its_own_loss(data):
    from offsite.training.generalisation.erm import ERM

    torch.manual_seed(0)
    head = GradeHead(4, 3)
    algorithm = ERM(nn.Identity(), head, ClassificationLoss(LossSettings(), np.ones(3)))
    expected = F.huber_loss(head.grade(data.pixels), data.labels.float())
    torch.testing.assert_close(algorithm.step(data, 0.0)["loss"], expected)


@pytest.mark.parametrize("kind", ["erm", "mixup", *COMPARING_SITES])
def test_mixed_precision_stays_finite(kind, data):
    algorithm = general(kind, n_sites=3)()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = algorithm.step(data, 1.0)
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in algorithm.parameters())
