import numpy as np
import pytest

from offsite.pathology.input_choice import bag_statistics, choose, enough_bags


def stats(seed, found_in, width=40, bags=48):
    """Bags of which a class differs in a faint direction, or in a strong one."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [bags * 3 // 4, bags // 4])
    lengths = np.linspace(12, 1, width)
    rows = rng.normal(size=(bags, 20, width)) * lengths
    rows[labels == 1, :, found_in] += lengths[found_in]
    plain = np.stack([bag_statistics(bag) for bag in rows])
    even = np.stack([bag_statistics(bag / lengths) for bag in rows])
    return plain, even, labels, [f"p{i}" for i in range(bags)]


def test_statistics_are_mean_and_quantile():
    bag = np.array([[0.0, 5.0], [10.0, 5.0]])
    np.testing.assert_allclose(bag_statistics(bag), [5, 5, 9, 5])


def test_whitening_is_chosen_where_it_helps_and_both_losses_are_told():
    plain, even, labels, patients = stats(0, found_in=39)
    chosen = choose(plain, even, labels, patients)
    assert chosen.whitened
    assert chosen.losses["whitened"] < 0.95 * chosen.losses["none"]
    assert f"{chosen.losses['none']:.3f}" in chosen.reason
    assert choose(plain, even, labels, patients) == chosen


def test_instances_are_left_as_they_are_unless_whitening_gains_something():
    plain, even, labels, patients = stats(1, found_in=0)
    assert not choose(plain, even, labels, patients).whitened
    same = choose(plain, plain, labels, patients)
    assert not same.whitened
    assert same.losses["none"] == same.losses["whitened"]
    assert "5%" in same.reason


def test_of_many_bags_those_of_rare_classes_are_all_looked_at():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [900, 80, 7]))
    some = enough_bags(labels)
    assert len(set(some.tolist())) == 500
    assert np.bincount(labels[some]).tolist() == [413, 80, 7]
    assert enough_bags(labels[:300]).tolist() == list(range(300))
    np.testing.assert_array_equal(some, enough_bags(labels))


def test_patients_are_left_out_whole():
    """Bags of a patient are alike and classes are by chance: whoever sees a twin, knows it."""
    rng = np.random.default_rng(0)
    of_patient = np.repeat(np.arange(24), 4)
    own = rng.normal(size=(24, 60))[of_patient] + 0.01 * rng.normal(size=(96, 60))
    labels = (np.arange(24) % 2)[of_patient]
    whole = choose(own, own, labels, [f"p{i}" for i in of_patient])
    torn = choose(own, own, labels, [f"p{i}" for i in range(96)])
    assert whole.losses["none"] > 0.6
    assert torn.losses["none"] < 0.3


@pytest.mark.parametrize(
    ("labels", "patients", "said"),
    [
        ([0, 0, 0, 1, 1], "aabcc", "one training patient"),
        ([0, 0, 0, 0, 0], "abcde", "one class"),
    ],
)
def test_what_cannot_be_judged_is_left_as_it_is_and_said(labels, patients, said):
    rows = np.random.default_rng(0).normal(size=(5, 6))
    chosen = choose(rows, rows, np.array(labels), list(patients))
    assert (chosen.whitened, chosen.losses) == (False, {})
    assert said in chosen.reason
