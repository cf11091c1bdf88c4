import torch
import torch.nn.functional as F

from offsite.training.losses.classification import cross_entropy


def test_plain_and_weighted_cross_entropy_follow_their_formulas():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    torch.testing.assert_close(cross_entropy(logits, labels), F.cross_entropy(logits, labels))
    weights = torch.tensor([0.5, 1.0, 3.0])
    nll = -torch.log_softmax(logits, 1)[torch.arange(6), labels]
    torch.testing.assert_close(
        cross_entropy(logits, labels, weights), (weights[labels] * nll).mean()
    )


def test_shards_average_to_the_whole_batch_also_with_weights():
    logits, labels = torch.randn(8, 3), torch.randint(0, 3, (8,))
    weights = torch.tensor([0.2, 1.0, 5.0])
    shards = [cross_entropy(logits[r::2], labels[r::2], weights) for r in (0, 1)]
    torch.testing.assert_close(torch.stack(shards).mean(), cross_entropy(logits, labels, weights))


def test_unlabelled_items_are_left_out():
    logits, labels = torch.randn(4, 3), torch.tensor([0, -1, 2, -1])
    expected = F.cross_entropy(logits[[0, 2]], labels[[0, 2]])
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    assert cross_entropy(logits, torch.full((4,), -1)).item() == 0.0
