import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import SupConLoss

from training.losses.contrastive import supervised_contrastive

LABELS = {
    "every anchor has a positive": [0, 0, 1, 1, 2, 2, 2, 0],
    "one anchor without": [0, 0, 0, 0, 0, 1, 2, 2],
    "no positive at all": [0, 1, 2],
}


def both(labels, temperature, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(len(labels), 6, generator=generator, dtype=torch.float32)
    mine, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    labels = torch.tensor(labels)
    result = supervised_contrastive(mine, labels, temperature)
    oracle = SupConLoss(temperature=temperature)(theirs, labels)
    return result, mine, oracle, theirs


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.07])
@pytest.mark.parametrize("case", LABELS)
def test_value_and_gradient_equal_pytorch_metric_learning(case, temperature):
    result, mine, oracle, theirs = both(LABELS[case], temperature)
    result.loss.backward()
    oracle.backward()
    assert result.loss.item() == pytest.approx(oracle.item(), abs=1e-5)
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-5)


def test_one_class_alone_follows_the_formula_where_the_library_gives_nothing():
    z = F.normalize(torch.randn(4, 6), dim=1)
    similarity = (z @ z.T / 0.5)[~torch.eye(4, dtype=torch.bool)].reshape(4, 3)
    expected = -(similarity - similarity.logsumexp(1, keepdim=True)).mean()
    torch.testing.assert_close(supervised_contrastive(z, torch.ones(4).long(), 0.5).loss, expected)


def test_no_positive_gives_zero_with_a_zero_gradient_and_says_so():
    result, mine, *_ = both(LABELS["no positive at all"], 0.1)
    result.loss.backward()
    assert result.loss.item() == 0.0
    assert torch.equal(mine.grad, torch.zeros_like(mine))
    assert result.valid.tolist() == [0, 0, 0]
    assert result.anchors.tolist() == [1, 1, 1]


@pytest.mark.parametrize("labels", [[], [0], [-1, 0], [-1, -1]])
def test_batches_too_small_for_a_pair_stay_finite(labels):
    z = torch.randn(len(labels), 4, requires_grad=True)
    loss = supervised_contrastive(z, torch.tensor(labels, dtype=torch.int64)).loss
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(z.grad).all()


def test_counts_valid_anchors_per_class():
    result, *_ = both(LABELS["one anchor without"], 1.0)
    assert result.anchors.tolist() == [5, 1, 2]
    assert result.valid.tolist() == [5, 0, 2]
    z, y = torch.randn(3, 4), torch.tensor([0, 0, 1])
    share = supervised_contrastive(z, y, n_classes=3).valid_share()
    assert share[:2].tolist() == [1.0, 0.0]
    assert share[2].isnan()


def test_gradient_of_an_anchor_is_expected_candidate_minus_mean_positive():
    z = F.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1).float()
    labels = torch.tensor([0, 0, 0, 1, 2])
    temperature = 0.5
    free = z.clone().requires_grad_()
    supervised_contrastive(free, labels, temperature).loss.backward()
    gradient = torch.zeros_like(z)
    for i in range(3):  # the anchors with a positive
        others = [k for k in range(5) if k != i]
        q = torch.softmax(z[others] @ z[i] / temperature, dim=0)
        positives = [p for p in others if labels[p] == labels[i]]
        gradient[i] += (q @ z[others] - z[positives].mean(0)) / temperature / 3
        for k, share in zip(others, q, strict=True):
            gradient[k] += (share - (k in positives) / len(positives)) * z[i] / temperature / 3
    tangential = gradient - (gradient * z).sum(1, keepdim=True) * z  # through the normalisation
    torch.testing.assert_close(free.grad, tangential, atol=1e-6, rtol=1e-5)


def test_unlabelled_items_do_not_count_and_order_does_not_matter():
    z, labels = torch.randn(7, 4), torch.tensor([0, 1, -1, 0, 1, -1, 2])
    known = labels >= 0
    expected = supervised_contrastive(z[known], labels[known]).loss
    order = torch.randperm(7)
    torch.testing.assert_close(supervised_contrastive(z[order], labels[order]).loss, expected)


def test_stays_float32_and_exact_under_autocast():
    z, labels = torch.randn(8, 16), torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    expected = supervised_contrastive(z, labels, 0.07).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supervised_contrastive(z, labels, 0.07).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, atol=0, rtol=0)
