import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offsite.errors import InputError
from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.draws import dithered
from offsite.training.samplers.plans import RandomBatches


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 3), st.integers(0, 3))
def test_random_batches_hold_every_item_once_and_no_runt(n, size, seed, epoch):
    plan = RandomBatches(n, size, seed)
    batches = plan.batches(epoch)
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert len(batches) == plan.steps(epoch)
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_epochs_and_seeds_differ_and_repeat():
    first = np.concatenate(RandomBatches(50, 8, seed=1).batches(0))
    assert np.array_equal(first, np.concatenate(RandomBatches(50, 8, seed=1).batches(0)))
    assert not np.array_equal(first, np.concatenate(RandomBatches(50, 8, seed=1).batches(1)))
    assert not np.array_equal(first, np.concatenate(RandomBatches(50, 8, seed=2).batches(0)))


label_lists = st.lists(st.integers(-1, 4), min_size=1, max_size=120).filter(
    lambda labels: max(labels) >= 0
)


@given(label_lists, st.integers(2, 32), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2))
def test_class_aware_batches_give_every_present_class_its_partners(labels, size, exponent, epoch):
    labels = np.array(labels)
    counts = {c: int((labels == c).sum()) for c in set(labels.tolist()) - {-1}}
    plan = ClassAwareBatches(labels, size, seed=5, exponent=exponent)
    batches = plan.batches(epoch)
    assert len(batches) == plan.steps(epoch)
    for batch in batches:
        assert len(batch) <= size
        assert len(set(batch.tolist())) == len(batch)  # no item twice
        drawn = labels[batch]
        assert (drawn >= 0).all()
        for c in set(drawn.tolist()):
            assert (drawn == c).sum() >= min(2, counts[c])
        if size >= 2 * len(counts):
            assert set(drawn.tolist()) == set(counts)


def test_exponent_moves_batches_from_balanced_to_natural():
    labels = np.repeat([0, 1, 2], [800, 160, 40])
    shares = {}
    for exponent in (0.0, 0.5, 1.0):
        drawn = np.concatenate(
            [
                labels[batch]
                for epoch in range(3)
                for batch in ClassAwareBatches(labels, 50, 0, exponent=exponent).batches(epoch)
            ]
        )
        shares[exponent] = np.bincount(drawn) / len(drawn)
    np.testing.assert_allclose(shares[0.0], 1 / 3, atol=0.01)
    # 2 of each class in 50 are fixed; the other 44 follow n^q.
    for exponent in (0.5, 1.0):
        p = np.array([800, 160, 40]) ** exponent
        np.testing.assert_allclose(shares[exponent], (2 + 44 * p / p.sum()) / 50, atol=0.01)


def test_items_of_a_class_come_round_in_cycles():
    labels = np.repeat([0, 1], [90, 10])
    drawn = np.concatenate(ClassAwareBatches(labels, 10, 0).batches(0))
    times = np.bincount(drawn, minlength=100)
    assert set(times[90:]) == {5}
    assert set(times[:90]) == {0, 1}


def test_more_classes_than_places_take_turns():
    labels = np.arange(40) % 10
    batches = ClassAwareBatches(labels, 8, 3).batches(0)
    seen = [set(labels[batch]) for batch in batches]
    assert all(len(classes) == 4 for classes in seen)
    assert set.union(*seen) == set(range(10))


def test_a_class_smaller_than_its_places_repeats_only_when_told():
    labels = np.array([0] * 20 + [1])
    for batch in ClassAwareBatches(labels, 6, 0).batches(0):
        assert (batch == 20).sum() == 1
    for batch in ClassAwareBatches(labels, 6, 0, repeats_within_batch=True).batches(0):
        assert (batch == 20).sum() >= 2


def test_text_labels_are_grouping_keys_too():
    labels = np.array(["a", "b", "a", "b"])
    assert {*labels[ClassAwareBatches(labels, 4).batches(0)[0]]} == {"a", "b"}


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.integers(0, 60))
def test_dithered_counts_sum_up_and_are_off_by_less_than_one(shares, n):
    shares = np.array(shares) / np.sum(shares)
    counts = dithered(shares, n, np.random.default_rng(0))
    assert counts.sum() == n
    assert (np.abs(counts - n * shares) < 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("labels", "size", "code"), [([], 4, "no_items"), ([-1], 4, "no_items"), ([0], 0, "batch_size")]
)
def test_unusable_input_is_refused(labels, size, code):
    with pytest.raises(InputError) as caught:
        ClassAwareBatches(np.array(labels, dtype=int), size, per_class=1)
    assert caught.value.code == code
