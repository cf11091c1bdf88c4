import numpy as np
import pytest
import torch

from offsite.pathology.bags import BagLoader, Bags, BagTable, by_total_rows, draw_views
from offsite.pathology.features.file import FeatureOrigin, SlideFeatures, write_features
from offsite.pathology.features.store import pack_features

COUNTS = (5, 300, 40, 1)
ONCE = np.zeros(2, np.int64)


def origin(**changes):
    given = {
        "tile_px": 224, "mpp": 0.5, "tile_size_level0": 224.0, "encoder": "test",
        "encoder_digest": "e",
    }  # fmt: skip
    return FeatureOrigin(**(given | changes))


def write_slides(folder, counts=COUNTS, dimensions=6, seed=0):
    """Feature files whose first number names the slide and whose second the row."""
    files = {}
    for slide, count in enumerate(counts):
        rng = np.random.default_rng([seed, slide])
        features = rng.normal(size=(count, dimensions)).astype(np.float16)
        features[:, 0], features[:, 1] = slide, np.arange(count)
        coords = rng.integers(0, 9999, (count, 2))
        path = folder / f"s{slide}.h5"
        write_features(path, SlideFeatures(features=features, coords=coords, origin=origin()))
        files[f"s{slide}"] = path
    return files


@pytest.fixture
def store(tmp_path):
    return pack_features(write_slides(tmp_path))


def table(groups=((0,), (1,), (2,), (3,))):
    names = tuple(f"bag{number}" for number in range(len(groups)))
    return BagTable(names, groups, np.arange(len(groups)) % 2)


def test_packing_keeps_every_row_and_its_order():
    bags = Bags.pack([np.ones((2, 3)), np.zeros((1, 3), np.float16)], [1, 0])
    assert bags.rows.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert bags.offsets.tolist() == [0, 2, 3]
    assert (bags.labels.tolist(), bags.bags.tolist(), len(bags)) == ([1, 0], [0, 1], 2)
    assert bags.rows.dtype == torch.float32


def test_an_empty_bag_is_refused():
    with pytest.raises(ValueError, match="instances"):
        Bags.pack([np.ones((2, 3)), np.ones((0, 3))])


def test_draws_depend_on_seed_epoch_and_bag_alone(store):
    loader = BagLoader(store, table(), instances=20, seed=3)
    one = loader.training_batch(np.array([1, 2]), 4, ONCE)
    again = BagLoader(store, table(), instances=20, seed=3).training_batch(
        np.array([2, 1]), 4, ONCE
    )
    assert torch.equal(one.rows[:20], again.rows[20:])
    assert torch.equal(one.rows[20:], again.rows[:20])
    later = loader.training_batch(np.array([1, 2]), 5, ONCE)
    other = BagLoader(store, table(), instances=20, seed=4).training_batch(
        np.array([1]), 4, ONCE[:1]
    )
    assert not torch.equal(one.rows, later.rows)
    assert not torch.equal(one.rows[:20], other.rows)


def test_over_the_epochs_every_instance_is_drawn(store):
    loader = BagLoader(store, table(), instances=100)
    drawn = torch.cat(
        [loader.training_batch(np.array([1]), epoch, ONCE[:1]).rows[:, 1] for epoch in range(20)]
    )
    assert len(drawn) == 2000
    assert len(drawn.unique()) == 300


def test_views_of_a_bag_are_disjoint_and_know_their_bag(store):
    loader = BagLoader(store, table(), instances=16, views=2)
    batch = loader.training_batch(np.array([2, 1]), 0, ONCE)
    assert batch.bags.tolist() == [2, 2, 1, 1]
    assert batch.labels.tolist() == [0, 0, 1, 1]
    views = [set(batch.rows[start : start + 16, 1].tolist()) for start in (0, 16)]
    assert len(views[0]) == len(views[1]) == 16
    assert not views[0] & views[1]


@pytest.mark.parametrize(
    ("size", "instances", "views", "sizes"),
    [
        (10, None, 1, [10]),
        (10, 4, 1, [4]),
        (10, 4, 2, [4, 4]),
        (7, 4, 2, [3, 3]),
        (1, 4, 2, [1, 1]),
    ],
)
def test_views_share_a_small_bag_evenly(size, instances, views, sizes):
    drawn = draw_views(size, instances, views, np.random.default_rng(0))
    assert [len(view) for view in drawn] == sizes
    assert all((np.diff(view) > 0).all() for view in drawn)


def test_a_bag_that_comes_twice_in_a_batch_is_drawn_twice(store):
    batch = BagLoader(store, table(), instances=50).training_batch(
        np.array([1, 1]), 0, np.array([0, 1])
    )
    assert not torch.equal(batch.rows[:50], batch.rows[50:])


def test_a_patient_s_bag_holds_the_rows_of_all_its_slides(store):
    loader = BagLoader(store, table(((0, 2), (1, 3))), instances=30)
    whole = next(batch for _, batch in loader.evaluation_batches())
    assert whole.offsets.tolist() == [0, 45, 346]
    assert whole.rows[:45, 0].tolist() == [0.0] * 5 + [2.0] * 40
    drawn = loader.training_batch(np.array([0, 1]), 2, ONCE)
    for slide, row in drawn.rows[:, :2].tolist():
        expected = torch.tensor(store.rows(int(slide))[int(row)].astype(np.float32))
        assert (drawn.rows == expected).all(dim=1).any()
    assert len(drawn.rows) == 60


def test_evaluation_takes_all_rows_in_batches_of_bounded_size(store):
    loader = BagLoader(store, table())
    batches = list(loader.evaluation_batches(max_rows=50))
    assert [indices.tolist() for indices, _ in batches] == [[0], [1], [2, 3]]
    rows = torch.cat([batch.rows for _, batch in batches])
    np.testing.assert_array_equal(rows.numpy(), store.features.astype(np.float32))


def test_grouping_by_rows_never_splits_or_skips_a_bag():
    sizes = np.random.default_rng(0).integers(1, 90, 200)
    groups = by_total_rows(sizes, 100)
    assert np.concatenate(groups).tolist() == list(range(200))
    assert all(sizes[group].sum() <= 100 for group in groups)


def test_every_batch_of_bags_knows_its_sites(store):
    plain = table()
    known = BagTable(plain.names, plain.slides, plain.labels, np.array([1, -1, 0, 1]))
    loader = BagLoader(store, known, instances=10, views=2)
    batch = loader.training_batch(np.array([0, 2]), 0, ONCE)
    assert batch.sites.tolist() == [1, 1, 0, 0]  # both views of each bag
    assert batch.to("cpu").sites.tolist() == [1, 1, 0, 0]
    whole = [site for _, one in loader.evaluation_batches() for site in one.sites.tolist()]
    assert whole == [1, -1, 0, 1]
    unknown = BagLoader(store, plain).training_batch(np.array([0, 2]), 0, ONCE)
    assert unknown.sites.tolist() == [-1, -1]
    assert torch.equal(unknown.labels, torch.tensor([0, 0]))
