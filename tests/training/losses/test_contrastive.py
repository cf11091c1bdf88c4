import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import SupConLoss

from offsite.training.losses.contrastive import (
    lowest_contrastive,
    simplex_prototypes,
    supervised_contrastive,
)
from offsite.training.losses.memory import MemoryQueue

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


def plain(z, labels, candidates, positives, temperature):
    """Sum over anchors by loops; ``positives[i]`` are the places of i's positives."""
    losses = []
    for i, own in enumerate(positives):
        others = [k for k in range(len(candidates)) if k != i]
        scores = candidates @ z[i] / temperature
        if own:
            losses.append(-(scores[own] - scores[others].logsumexp(0)).mean())
    return torch.stack(losses).mean()


@pytest.fixture
def rows():
    z = F.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    return z, torch.tensor([0, 0, 0, 0, 1, 2])


def test_memory_adds_candidates_that_are_no_anchors(rows):
    z, labels = rows
    stored = F.normalize(torch.randn(3, 5), dim=1)
    stored_labels = torch.tensor([1, 0, 1])
    result = supervised_contrastive(z, labels, 0.3, memory=(stored, stored_labels))
    positives = [[k for k in range(4) if k != i] + [7] for i in range(4)] + [[6, 8], []]
    expected = plain(z, labels, torch.cat([z, stored]), positives, 0.3)
    torch.testing.assert_close(result.loss, expected)
    assert result.valid.tolist() == [4, 1, 0]


def test_memory_has_no_gradient_and_forgets_the_oldest():
    queue = MemoryQueue(4, 2)
    assert [len(part) for part in queue.content()] == [0, 0]
    first = torch.randn(3, 2, requires_grad=True)
    queue.push(first, torch.tensor([0, -1, 1]))
    queue.push(torch.full((3, 2), 7.0), torch.tensor([2, 2, 2]))
    embeddings, labels = queue.content()
    assert labels.tolist() == [2, 2, 2, 0]
    assert not embeddings.requires_grad
    torch.testing.assert_close(embeddings[3], first[0].detach())


def test_prototypes_give_every_anchor_a_positive(rows):
    z, labels = rows
    vertices = simplex_prototypes(3, 5)
    result = supervised_contrastive(z, labels, 0.3, prototypes=vertices)
    positives = [[k for k in range(4) if k != i] + [6] for i in range(4)] + [[7], [8]]
    expected = plain(z, labels, torch.cat([z, vertices]), positives, 0.3)
    torch.testing.assert_close(result.loss, expected)
    assert result.valid.tolist() == [4, 1, 1]
    one = supervised_contrastive(z[:1], labels[:1], 0.3, prototypes=vertices)
    assert one.valid.tolist() == [1]
    assert torch.isfinite(one.loss)


def test_minority_attracts_its_class_and_the_majority_its_own_views(rows):
    z, _ = rows
    labels, items = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 2, 2, 3])
    minority = torch.tensor([False, True])
    result = supervised_contrastive(z, labels, 0.3, minority=minority, items=items)
    expected = plain(z, labels, z, [[1], [0], [], [4, 5], [3, 5], [3, 4]], 0.3)
    torch.testing.assert_close(result.loss, expected)
    assert result.valid.tolist() == [2, 3]
    without_views = supervised_contrastive(z, labels, 0.3, minority=minority)
    assert without_views.valid.tolist() == [0, 3]
    everyone = supervised_contrastive(z, labels, 0.3, minority=torch.tensor([True, True]))
    torch.testing.assert_close(everyone.loss, supervised_contrastive(z, labels, 0.3).loss)


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_simplex_prototypes_are_equally_far_apart(n_classes):
    vertices = simplex_prototypes(n_classes, 8)
    cosines = vertices @ vertices.T
    expected = torch.full((n_classes, n_classes), -1 / max(1, n_classes - 1))
    torch.testing.assert_close(cosines, expected.fill_diagonal_(1.0))
    with pytest.raises(ValueError, match="prototypes need"):
        simplex_prototypes(n_classes, n_classes - 1)


def test_the_lowest_loss_is_the_known_plateau():
    labels = torch.arange(16) % 2
    assert lowest_contrastive(labels, 1.0) == pytest.approx(2.090, abs=1e-3)
    assert lowest_contrastive(labels, 0.1) == pytest.approx(1.946, abs=1e-3)  # log 7
    for seed in range(5):
        z = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
        assert supervised_contrastive(z, labels, 1.0).loss > lowest_contrastive(labels, 1.0)
