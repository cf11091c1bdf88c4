from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from offsite.training.devices import distributed
from offsite.training.randomness import generator, seed_of
from offsite.training.samplers.plans import PlannedSource
from offsite.training.samplers.weighted import WeightedBatches


@given(st.integers(1, 40), st.integers(1, 8))
def test_shards_part_a_batch_and_come_back_in_its_order(n, world):
    with pytest.MonkeyPatch.context() as patch:
        batch = np.random.default_rng(n).permutation(n)
        shards = []
        for rank in range(world):
            patch.setattr(distributed, "rank_and_world", lambda rank=rank: (rank, world))
            shards.append(distributed.shard(batch))
    order = distributed._order([len(shard) for shard in shards], torch.device("cpu")).numpy()
    gathered = np.empty(n, dtype=np.int64)
    gathered[order] = np.concatenate(shards)
    assert np.array_equal(gathered, batch)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(st.integers(1, 20), st.integers(1, 5), st.integers(2, 3))
def test_the_views_of_an_item_stay_together(n, world, views):
    items = np.arange(n)
    shards = [np.repeat(items[rank::world], views) for rank in range(world)]
    order = distributed._order([len(shard) for shard in shards], torch.device("cpu"), views).numpy()
    rows = np.concatenate([shard * views + np.arange(len(shard)) % views for shard in shards])
    gathered = np.empty(n * views, dtype=np.int64)
    gathered[order] = rows
    assert np.array_equal(gathered, np.arange(n * views))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(sum))
def test_any_sizes_of_shards_have_an_order(counts):
    order = distributed._order(counts, torch.device("cpu")).tolist()
    assert sorted(order) == list(range(sum(counts)))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_load_the_epoch_of_one_process(monkeypatch, world):
    plan = WeightedBatches(np.repeat([0, 1], [40, 7]), 9, seed=4, exponent=0.0)
    source = PlannedSource(plan, lambda indices, epoch, times: indices * 1000 + times)
    everything = list(source.batches(2))
    whole = everything[1:]
    for batch, again in zip(whole, source.batches(2, start=1), strict=True):
        assert np.array_equal(batch, again)
    ranks = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank_and_world", lambda rank=rank: (rank, world))
        ranks.append(list(source.batches(2, start=1)))
    for batch, *shards in zip(whole, *ranks, strict=True):
        assert sorted(np.concatenate(shards)) == sorted(batch)
    drawn = np.concatenate(everything)
    assert len(np.unique(drawn)) == len(drawn), "no rank draws what another drew, nor twice"
    assert len(np.unique(drawn // 1000)) < len(drawn), "some items came several times"


@pytest.mark.parametrize(
    ("device", "cuda", "backend"),
    [
        ("auto", True, "cpu:gloo,cuda:nccl"),
        ("cuda", True, "cpu:gloo,cuda:nccl"),
        ("cpu", True, "gloo"),  # tensors of the CPU, though the machine has GPUs
        ("auto", False, "gloo"),
        ("mps", False, "gloo"),
        ("cuda", False, "gloo"),  # the fit says that there is no such device
    ],
)
def test_a_rank_takes_its_own_gpu_before_it_joins(monkeypatch, device, cuda, backend):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: calls.append(number))
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda chosen, timeout: calls.append((chosen, timeout >= timedelta(hours=12))),
    )
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    distributed.join(device)
    assert calls == ([(backend, True)] if backend == "gloo" else [3, (backend, True)])


@pytest.mark.parametrize(
    ("backend", "wanted", "device"),
    [
        ("gloo", "cuda:1", "cpu"),
        ("cpu:gloo,cuda:nccl", "cuda:1", "cuda:1"),
        ("cpu:gloo,cuda:nccl", None, "cpu"),
        ("nccl", "cpu", "cuda:2"),
    ],
)
def test_tensors_are_moved_where_the_group_can_take_them(monkeypatch, backend, wanted, device):
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    given = None if wanted is None else torch.device(wanted)
    assert distributed._device(given) == torch.device(device)


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_rank_makes_what_the_others_find(monkeypatch, rank):
    order = []
    monkeypatch.setattr(distributed, "rank_and_world", lambda: (rank, 2))
    monkeypatch.setattr(distributed, "wait_for_all", lambda: order.append("wait"))
    assert distributed.rank_zero_first(lambda: order.append("make") or "made") == "made"
    assert order == (["make", "wait"] if rank == 0 else ["wait", "make"])


def test_outside_a_group_everything_is_the_identity():
    rows = torch.randn(3, 2, requires_grad=True)
    assert distributed.gather(rows) is rows
    assert distributed.from_rank_zero({"a": None}) == {"a": None}
    assert distributed.sums_over_ranks([1.0, 2.0]) == [1.0, 2.0]
    assert torch.equal(distributed.draw_together(torch.ones, 3), torch.ones(3))


def test_seeds_differ_by_place_and_repeat():
    places = [(0,), (1,), (0, 0), (0, 1), (1, 0)]
    seeds = {seed_of(7, *place) for place in places}
    assert len(seeds) == 5
    assert seeds.isdisjoint(seed_of(8, *place) for place in places)
    assert seed_of(7, 0, 1) == seed_of(7, 0, 1) < 2**63
    assert generator(7, 0, 1).random() == generator(7, 0, 1).random()
