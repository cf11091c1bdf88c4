import numpy as np
import pytest
import torch
from padded import pad, pool

from offsite.pathology.bags import Bags
from offsite.training.aggregators.registry import build_aggregator
from offsite.training.aggregators.segments import (
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    segment_weighted_sum,
)
from offsite.training.aggregators.settings import AggregatorSettings

NAMES = ("gated_attention", "additive_attention", "mean", "max", "dual_stream", "transformer")
SIZES = (1, 7, 40, 3)


def _bags(seed=0, sizes=SIZES, dimensions=12):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(size, dimensions)).astype(np.float32) for size in sizes]


def _aggregator(name, dimensions=12, width=16):
    torch.manual_seed(1)
    settings = AggregatorSettings(name=name, width=width, attention_width=8, dropout=0.3)
    return build_aggregator(settings, dimensions, 3).eval()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_packed_bags_give_what_bags_one_by_one_give(name):
    aggregator = _aggregator(name)
    bags = _bags()
    packed = Bags.pack(bags)
    together = aggregator(packed.rows, packed.offsets)
    for number, bag in enumerate(bags):
        alone = aggregator(torch.tensor(bag), torch.tensor([0, len(bag)]))
        start, stop = packed.offsets[number], packed.offsets[number + 1]
        torch.testing.assert_close(
            alone.embedding[0], together.embedding[number], rtol=0, atol=1e-6
        )
        torch.testing.assert_close(
            alone.attention, together.attention[start:stop], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("name", NAMES)
def test_packed_bags_give_what_padding_with_a_mask_gives_and_the_same_gradients(name):
    aggregator = _aggregator(name)
    bags = _bags()
    packed, (padded, mask) = Bags.pack(bags), pad(bags)
    pooled = aggregator(packed.rows, packed.offsets)
    embedding, attention = pool(name, aggregator, padded, mask)
    torch.testing.assert_close(pooled.embedding, embedding, rtol=0, atol=1e-6)
    torch.testing.assert_close(pooled.attention, attention[mask], rtol=0, atol=1e-6)
    wanted = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(0))
    parameters = list(aggregator.parameters())
    for ours, theirs in zip(
        torch.autograd.grad((pooled.embedding * wanted).sum(), parameters, allow_unused=True),
        torch.autograd.grad((embedding * wanted).sum(), parameters, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_order_of_instances_does_not_matter(name):
    aggregator = _aggregator(name)
    bag = torch.tensor(_bags(sizes=(50,))[0])
    offsets = torch.tensor([0, 50])
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    straight, shuffled = aggregator(bag, offsets), aggregator(bag[order], offsets)
    torch.testing.assert_close(shuffled.embedding, straight.embedding, rtol=0, atol=1e-5)
    torch.testing.assert_close(shuffled.attention, straight.attention[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_attention_sums_to_one_over_each_bag(name):
    packed = Bags.pack(_bags())
    pooled = _aggregator(name)(packed.rows, packed.offsets)
    sums = segment_sum(pooled.attention, packed.offsets)
    torch.testing.assert_close(sums, torch.ones(len(SIZES)), rtol=0, atol=1e-5)
    assert (pooled.attention >= 0).all()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_streaming_a_bag_in_chunks_gives_the_whole_bag_s_result(name):
    aggregator = _aggregator(name)
    bag = torch.tensor(_bags(sizes=(101,))[0])
    bag[60] = bag[3]  # equal instances in two chunks: ties must be shared out the same way
    whole = aggregator(bag, torch.tensor([0, 101]))
    streamed = aggregator.stream(lambda: bag.split(17))
    torch.testing.assert_close(streamed.embedding, whole.embedding, rtol=0, atol=1e-5)
    torch.testing.assert_close(streamed.attention, whole.attention, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_bag_of_two_hundred_thousand_instances_has_an_answer(name):
    aggregator = _aggregator(name, dimensions=4, width=8)
    rows = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0))
    whole = aggregator(rows, torch.tensor([0, len(rows)]))
    streamed = aggregator.stream(lambda: rows.split(30_000))
    assert torch.isfinite(whole.embedding).all()
    torch.testing.assert_close(streamed.embedding, whole.embedding, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_additive_contributions_sum_to_the_logits_without_the_bias():
    aggregator = _aggregator("additive_attention")
    classifier = torch.nn.Linear(16, 3)
    packed = Bags.pack(_bags())
    parts, _ = aggregator.parts(packed.rows, packed.offsets)
    contributions = segment_sum(parts @ classifier.weight.T, packed.offsets)
    logits = classifier(aggregator(packed.rows, packed.offsets).embedding)
    torch.testing.assert_close(contributions + classifier.bias, logits, rtol=0, atol=1e-5)


def test_segment_functions_equal_their_loops():
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(51, 3, generator=rng) * 50
    offsets = torch.tensor([0, 1, 8, 48, 51])
    parts = values.split([1, 7, 40, 3])
    expected = {
        segment_sum: [part.sum(0) for part in parts],
        segment_mean: [part.mean(0) for part in parts],
        segment_max: [part.amax(0) for part in parts],
    }
    for function, rows in expected.items():
        torch.testing.assert_close(function(values, offsets), torch.stack(rows))
    weights = torch.rand(51, generator=rng)
    weighted = torch.stack(
        [w @ part for w, part in zip(weights.split([1, 7, 40, 3]), parts, strict=True)]
    )
    torch.testing.assert_close(segment_weighted_sum(weights, values, offsets), weighted)
    softmax = torch.cat([torch.softmax(part, 0) for part in parts])
    torch.testing.assert_close(segment_softmax(values, offsets), softmax)


def test_segment_softmax_is_finite_for_large_scores_and_in_bfloat16():
    scores = torch.tensor([1e4, -1e4, 9.9e3, 3e38, 0.0])
    weights = segment_softmax(scores.bfloat16(), torch.tensor([0, 3, 5]))
    assert weights.dtype == torch.float32
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    aggregator = _aggregator(name).train()
    packed = Bags.pack(_bags())
    pooled = aggregator(packed.rows, packed.offsets)
    (pooled.embedding**2).sum().backward()
    silent = [n for n, p in aggregator.named_parameters() if p.grad is None]
    assert silent == []
