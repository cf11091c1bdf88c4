import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offsite.errors import InputError
from offsite.training.samplers.shares import cell_shares, cells_of
from offsite.training.samplers.weighted import WeightedBatches

counts = st.lists(st.integers(0, 300), min_size=1, max_size=6).filter(sum)


def test_shares_follow_their_formulas():
    n = np.array([900, 90, 10])
    np.testing.assert_allclose(cell_shares(n), n / 1000)
    np.testing.assert_allclose(cell_shares(n, exponent=0), 1 / 3)
    root = np.sqrt(n)
    np.testing.assert_allclose(cell_shares(n, exponent=0.5), root / root.sum())
    weight = n * (1 - 0.99) / (1 - 0.99**n)
    effective = cell_shares(n, "effective_number", beta=0.99)
    np.testing.assert_allclose(effective, weight / weight.sum())
    halfway = cell_shares(n, "progressive", progress=0.5)
    np.testing.assert_allclose(halfway, 0.5 * n / 1000 + 0.5 / 3)


@given(counts, st.sampled_from(["power", "effective_number", "progressive"]), st.floats(0, 1))
def test_shares_sum_to_one_and_leave_empty_cells_out(n, rule, amount):
    shares = cell_shares(np.array(n), rule, exponent=amount, beta=0.99 * amount, progress=amount)
    assert shares.sum() == pytest.approx(1)
    assert ((shares == 0) == (np.array(n) == 0)).all()


def test_effective_number_has_its_two_ends():
    n = np.array([500, 20])
    np.testing.assert_allclose(cell_shares(n, "effective_number", beta=0.0), n / 520)
    almost = cell_shares(n, "effective_number", beta=1 - 1e-9)
    np.testing.assert_allclose(almost, 0.5, atol=1e-4)


@given(
    st.lists(st.integers(-1, 3), min_size=1, max_size=80).filter(lambda c: max(c) >= 0),
    st.integers(1, 20),
    st.floats(0, 1),
    st.integers(1, 150),
)
def test_each_item_is_drawn_its_expected_times_rounded(cells, size, exponent, epoch_size):
    cells = np.array(cells)
    plan = WeightedBatches(cells, size, exponent=exponent, epoch_size=epoch_size)
    batches = plan.batches(1)
    assert len(batches) == plan.steps(1)
    assert max(map(len, batches)) <= size
    times = np.bincount(np.concatenate(batches), minlength=len(cells))
    assert times.sum() == epoch_size
    assert (times[cells < 0] == 0).all()
    n = np.bincount(cells[cells >= 0], minlength=4)
    expected = epoch_size * cell_shares(n, exponent=exponent)[cells] / np.maximum(n[cells], 1)
    assert (np.abs(times - expected)[cells >= 0] < 1 + 1e-9).all()


def test_natural_shares_draw_every_item_once():
    batches = WeightedBatches(np.arange(37) % 3, 8).batches(4)
    assert sorted(np.concatenate(batches)) == list(range(37))


def test_copies_of_an_item_are_spread_over_the_epoch():
    cells = np.repeat([0, 1], [95, 5])
    batches = WeightedBatches(cells, 10, exponent=0.0).batches(0)
    holding = np.array([[item in batch for item in range(95, 100)] for batch in batches])
    assert (holding.sum(0) >= 9).all()  # ten draws each, in nine or ten of the ten batches


def test_progressive_shares_move_over_the_run():
    cells = np.repeat([0, 1], [90, 10])
    plan = WeightedBatches(cells, 20, rule="progressive", epochs=5)
    share = [np.mean(cells[np.concatenate(plan.batches(e))]) for e in range(5)]
    np.testing.assert_allclose(share, [0.1, 0.2, 0.3, 0.4, 0.5], atol=0.011)


def test_one_draw_per_patient_and_another_image_each_epoch():
    patients = np.repeat(np.arange(12), [1, 2, 3, 4, 9, 1, 1, 5, 2, 2, 3, 7])
    plan = WeightedBatches(np.zeros(len(patients), int), 4, seed=3, patients=patients)
    first = np.concatenate(plan.batches(0))
    assert sorted(patients[first]) == list(range(12))
    seen = {item for epoch in range(40) for item in np.concatenate(plan.batches(epoch))}
    assert len(seen) == len(patients)


def test_a_patient_drawn_again_gives_its_other_images_of_that_class_first():
    labels = np.array([0] * 20 + [1, 1, 1, 0])  # the last patient has four images
    patients = np.array([*range(20), 20, 20, 20, 20])
    plan = WeightedBatches(labels, 7, seed=0, exponent=0.0, patients=patients, epoch_size=30)
    for epoch in range(6):
        drawn = np.concatenate(plan.batches(epoch))
        own = drawn[drawn >= 20]
        if 23 not in own:  # this epoch, a rare image stands for the patient: 15 draws
            assert np.bincount(own - 20).tolist() == [5, 5, 5]


def test_cells_of_a_product_of_keys():
    cells, names = cells_of(["s2", "s1", "s2", "s1"], [0, 1, 1, 1])
    assert names == [("s1", 1), ("s2", 0), ("s2", 1)]
    assert cells.tolist() == [1, 0, 2, 0]
    with pytest.raises(InputError) as caught:
        cells_of([1, 2], [1])
    assert caught.value.code == "keys_differ"
