import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from offsite.errors import InputError
from offsite.training.losses.class_weights import effective_number_weights, power_weights
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.imbalance import (
    CosineClassifier,
    adjust_logits,
    balanced_softmax,
    focal,
    ldam,
    ldam_margins,
    logit_adjusted,
)
from offsite.training.losses.settings import LossSettings

COUNTS = np.array([900, 90, 10])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(12, 3, generator=generator)
    return logits, torch.tensor([0, 0, 1, 2, 2, 1, 0, 0, -1, 1, 0, 2])


def log_p(logits, labels):
    known = labels >= 0
    chosen = torch.log_softmax(logits[known].double(), 1)
    return chosen[torch.arange(int(known.sum())), labels[known]]


def test_inverse_frequency_weights_equal_scikit_learns_balanced_ones():
    labels = np.repeat([0, 1, 2], COUNTS)
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(power_weights(COUNTS), balanced)
    np.testing.assert_allclose(power_weights(COUNTS, 0.0), 1.0)


def test_effective_number_weights_follow_their_formula_and_have_mean_one_over_items():
    weights = effective_number_weights(COUNTS, 0.99)
    formula = (1 - 0.99) / (1 - 0.99**COUNTS)
    np.testing.assert_allclose(weights / weights[0], formula / formula[0])
    assert (weights * COUNTS).sum() / COUNTS.sum() == pytest.approx(1)
    np.testing.assert_allclose(effective_number_weights(COUNTS, 0.0), 1.0)
    nearly_one = effective_number_weights(COUNTS, 1 - 1e-10)
    np.testing.assert_allclose(nearly_one, power_weights(COUNTS), rtol=1e-5)


def test_a_class_without_items_is_refused_by_name():
    with pytest.raises(InputError, match="class number 1") as caught:
        power_weights(np.array([4, 0, 2]))
    assert caught.value.code == "empty_class"


def test_focal_follows_its_formula_and_gamma_zero_is_cross_entropy(batch):
    logits, labels = batch
    own = log_p(logits, labels)
    expected = -((1 - own.exp()) ** 2 * own).mean()
    assert focal(logits, labels, 2.0).item() == pytest.approx(expected.item(), abs=1e-6)
    plain = F.cross_entropy(logits, labels, ignore_index=-1)
    torch.testing.assert_close(focal(logits, labels, 0.0), plain)
    weights = torch.tensor([0.5, 2.0, 3.0])
    weighted = -(weights[labels[labels >= 0]] * (1 - own.exp()) ** 2 * own).mean()
    assert focal(logits, labels, 2.0, weights).item() == pytest.approx(weighted.item(), abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_stays_finite_where_the_model_is_sure(gamma):
    logits = torch.tensor([[80.0, 0.0], [-80.0, 0.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([0, 0]), gamma)
    loss.backward()
    assert loss.item() == pytest.approx(40.0)
    assert torch.isfinite(logits.grad).all()


def test_balanced_softmax_is_the_softmax_weighted_by_counts(batch):
    logits, labels = batch
    n = torch.tensor(COUNTS)
    p = n * logits.double().exp()
    p = p / p.sum(1, keepdim=True)
    known = labels >= 0
    expected = -p[known][torch.arange(11), labels[known]].log().mean()
    assert balanced_softmax(logits, labels, n).item() == pytest.approx(expected.item(), abs=1e-5)
    adjusted = logit_adjusted(logits, labels, n / n.sum(), tau=1.0)
    torch.testing.assert_close(balanced_softmax(logits, labels, n), adjusted)


def test_post_hoc_adjustment_undoes_the_training_prior(batch):
    logits, _ = batch
    prior = torch.tensor([0.9, 0.09, 0.01])
    back = adjust_logits(logits + 1.5 * prior.log(), prior, tau=1.5)
    torch.testing.assert_close(back, logits)
    # A model that has learnt the prior alone is left without a preference.
    torch.testing.assert_close(
        adjust_logits(prior.log()[None], prior).softmax(1), torch.full((1, 3), 1 / 3)
    )


def test_ldam_margins_and_loss_follow_their_formulas(batch):
    logits, labels = batch
    margins = ldam_margins(torch.tensor(COUNTS), 0.5)
    ratio = (COUNTS / 10.0) ** -0.25
    np.testing.assert_allclose(margins.numpy(), 0.5 * ratio, rtol=1e-6)
    shifted = logits.clone()
    for row, label in enumerate(labels):
        if label >= 0:
            shifted[row, label] -= margins[label]
    expected = -log_p(30 * shifted, labels).mean()
    assert ldam(logits, labels, margins, 30.0).item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        ldam(logits, labels, torch.zeros(3), 1.0), F.cross_entropy(logits, labels, ignore_index=-1)
    )


def test_cosine_classifier_ignores_lengths():
    torch.manual_seed(0)
    head, x = CosineClassifier(5, 3, scale=30.0), torch.randn(4, 5)
    logits = head(x)
    torch.testing.assert_close(head(7 * x), logits)
    expected = 30 * F.cosine_similarity(x[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(logits, expected)


KINDS = [
    ("cross_entropy", lambda z, y, w, n: F.cross_entropy(z, y, ignore_index=-1)),
    ("focal", lambda z, y, w, n: focal(z, y)),
    ("balanced_softmax", lambda z, y, w, n: balanced_softmax(z, y, n)),
    ("logit_adjustment", lambda z, y, w, n: logit_adjusted(z, y, n)),
    ("weighted", lambda z, y, w, n: -(w[y[y >= 0]] * log_p(z, y)).mean().float()),
    ("effective_number", lambda z, y, w, n: -(w[y[y >= 0]] * log_p(z, y)).mean().float()),
]


@pytest.mark.parametrize(("kind", "formula"), KINDS, ids=[kind for kind, _ in KINDS])
def test_losses_from_settings(batch, kind, formula):
    logits, labels = batch
    loss = ClassificationLoss(LossSettings(kind=kind), COUNTS)
    expected = formula(logits, labels, loss.class_weights, torch.tensor(COUNTS))
    torch.testing.assert_close(loss(logits, labels, 0.5), expected, atol=1e-6, rtol=1e-5)
    assert (loss.class_weights is not None) == (kind in ("weighted", "effective_number"))
    assert loss.adjusts_prior == (kind in ("balanced_softmax", "logit_adjustment"))
    assert not loss.state_dict()  # nothing of it is a weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(logits, labels, 0.5).dtype == torch.float32


def test_ldam_drw_weights_classes_in_the_last_stage_alone(batch):
    logits, labels = batch
    loss = ClassificationLoss(LossSettings(kind="ldam_drw", beta=0.99), COUNTS)
    cosines = logits.tanh()
    margins = ldam_margins(torch.tensor(COUNTS), 0.5)
    early = ldam(cosines, labels, margins, 30.0)
    late = ldam(cosines, labels, margins, 30.0, loss.class_weights)
    torch.testing.assert_close(loss(30 * cosines, labels, 0.79), early)
    torch.testing.assert_close(loss(30 * cosines, labels, 0.8), late)
    assert late > early
