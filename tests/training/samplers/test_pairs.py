import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.pairs import PairBatches
from offsite.training.samplers.plans import RandomBatches
from offsite.training.samplers.weighted import WeightedBatches


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.booleans())
def test_a_partner_is_of_another_site_or_at_least_another_item(sites, other_site):
    sites = np.array(sites)
    anchors = RandomBatches(len(sites), 7, seed=2)
    plan = PairBatches(anchors, sites, seed=1, other_site=other_site)
    batches = plan.batches(3)
    assert len(batches) == plan.steps(3)
    for pairs, alone in zip(batches, anchors.batches(3), strict=True):
        assert pairs.shape == (len(alone), 2)
        assert pairs.dtype == np.int64
        assert np.array_equal(pairs[:, 0], alone)
        for anchor, partner in pairs:
            if other_site and len(set(sites)) > 1:
                assert sites[anchor] != sites[partner]
            elif (sites == sites[anchor]).sum() > 1:
                assert anchor != partner


def test_partner_sites_are_uniform_and_partners_uniform_within_them():
    sites = np.repeat(["a", "b", "c"], [60, 30, 10])
    plan = PairBatches(RandomBatches(100, 10), sites)
    pairs = np.concatenate([b for epoch in range(60) for b in plan.batches(epoch)])
    of_a = pairs[sites[pairs[:, 0]] == "a", 1]
    share = [(sites[of_a] == site).mean() for site in "abc"]
    np.testing.assert_allclose(share, [0, 0.5, 0.5], atol=0.03)
    times = np.bincount(of_a, minlength=100)[90:]
    np.testing.assert_allclose(times / times.sum(), 0.1, atol=0.02)


def test_tally_pairs_have_class_uniform_anchors():
    labels, sites = np.repeat([0, 1], [90, 10]), np.tile([0, 1], 50)
    plan = PairBatches(WeightedBatches(labels, 10, exponent=0.0), sites)
    anchors = np.concatenate(plan.batches(0))[:, 0]
    assert labels[anchors].mean() == 0.5


@given(st.integers(0, 5))
def test_class_aware_positives_cross_sites_where_a_class_has_several(epoch):
    labels = np.repeat([0, 0, 0, 1, 1, 2], [40, 10, 2, 20, 1, 5])
    sites = np.repeat([0, 1, 2, 0, 1, 2], [40, 10, 2, 20, 1, 5])
    plan = ClassAwareBatches(labels, 9, sites=sites)
    for batch in plan.batches(epoch):
        assert len(set(batch.tolist())) == len(batch)
        for label, several in ((0, True), (1, True), (2, False)):
            drawn = sites[batch[labels[batch] == label]]
            assert len(drawn) >= 2
            assert (len(set(drawn)) > 1) is several
