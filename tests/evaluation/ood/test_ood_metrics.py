"""False-positive rates and the frozen reference, against plain loops."""

import numpy as np
import pytest

from offsite.errors import InputError
from offsite.evaluation.ood.detector import ReferencedDetector
from offsite.evaluation.ood.logit_detectors import Energy, Msp
from offsite.evaluation.ood.metrics import Scored, false_positive_rates
from offsite.evaluation.statistics.resampling import patient_weights


@pytest.fixture(params=["continuous", "tied"])
def scored(request):
    rng = np.random.default_rng(3)
    positive = rng.random(200) < 0.3
    scores = rng.normal(size=200) + positive
    return (np.round(scores * 2) if request.param == "tied" else scores), positive


def plain_rates(scores, positive):
    """Both conventions by trying every threshold."""
    inside, outside = scores[~positive], scores[positive]
    keeping = min(t for t in inside if (inside <= t).mean() >= 0.95)
    catching = max(t for t in outside if (outside >= t).mean() >= 0.95)
    return (outside <= keeping).mean(), (inside >= catching).mean()


def rates(scores, positive, weights=None):
    """Both rates of each weighting, B and B; a unit for each row."""
    weights = np.ones((1, len(scores)), dtype=np.uint8) if weights is None else weights
    familiar, foreign = (
        Scored.of(scores[side], np.arange(side.sum()), weights[:, side])
        for side in (~positive, positive)
    )
    return false_positive_rates(familiar, [foreign])[0]


def test_the_rates_equal_a_search_over_thresholds(scored):
    scores, positive = scored
    found = rates(scores, positive)
    assert [rate[0] for rate in found] == pytest.approx(plain_rates(scores, positive))


def test_weights_equal_rows_repeated(scored):
    scores, positive = scored
    weights = np.random.default_rng(4).integers(0, 4, size=(70, 200)).astype(np.uint8)
    found = rates(scores, positive, weights)
    for index in (0, 30, 69):
        rows = np.repeat(np.arange(200), weights[index])
        again = rates(scores[rows], positive[rows])
        assert [rate[index] for rate in found] == pytest.approx([rate[0] for rate in again])


def test_several_sets_at_once_equal_one_after_the_other(scored):
    scores, positive = scored
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 3, size=(30, 60)).astype(np.uint8)
    units = rng.integers(0, 60, 200)
    sides = [
        Scored.of(scores[rows], units[rows], counts)
        for rows in (~positive, positive, np.arange(200) % 3 == 0)
    ]
    together = false_positive_rates(sides[0], sides[1:])
    for both, alone in zip(together, sides[1:], strict=True):
        for rate, expected in zip(both, false_positive_rates(sides[0], [alone])[0], strict=True):
            np.testing.assert_array_equal(rate, expected)


def test_the_two_conventions_differ_and_a_useless_score_is_at_95_percent():
    scores = np.arange(1000) % 100
    positive = np.arange(1000) >= 500
    assert [rate[0] for rate in rates(scores, positive)] == pytest.approx([0.95, 0.95])
    skewed = np.where(positive, np.where(np.arange(1000) % 2 == 0, 200, -1), scores)
    assert [rate[0] for rate in rates(skewed, positive)] == pytest.approx([0.5, 1.0])


def test_a_weighting_without_one_side_is_nan_and_spares_the_others():
    scores, positive = np.arange(4.0), np.array([False, False, True, True])
    weights = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]], dtype=np.uint8)
    kept, _ = rates(scores, positive, weights)
    np.testing.assert_array_equal(kept, [np.nan, 0.0, np.nan])
    assert np.isnan(rates(scores, np.ones(4, dtype=bool))[0][0])


def test_patients_are_drawn_whole():
    patients = np.repeat([f"p{i}" for i in range(20)], 3)
    weights = patient_weights(patients, 200, np.random.default_rng(0))
    assert weights.shape == (200, 60)
    groups = weights.reshape(200, 20, 3)
    np.testing.assert_array_equal(groups.min(axis=2), groups.max(axis=2))
    np.testing.assert_array_equal(weights.sum(axis=1), 60)
    assert weights.std(axis=0).min() > 0.5
    assert patient_weights(np.array([], dtype=str), 5, np.random.default_rng(0)).shape == (5, 0)


def test_the_frozen_threshold_passes_a_new_row_with_the_wanted_probability():
    # With n rows and the k-th smallest as threshold a new row passes with probability k / (n + 1).
    for n, rank in ((19, 19), (39, 38), (100, 96), (10, 10)):
        reference = ReferencedDetector.of(Msp(), np.arange(n, dtype=float), 0.95)
        assert reference.threshold == rank - 1
        assert reference.flag(np.array([rank - 1.0, rank - 0.5])).tolist() == [False, True]


def test_percentiles_rise_from_0_to_100_and_ties_take_the_middle():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=5000)
    reference = ReferencedDetector.of(Msp(), scores)
    new = np.array([-100.0, np.quantile(scores, 0.25), np.median(scores), 100.0])
    np.testing.assert_allclose(reference.percentile(new), [0, 25, 50, 100], atol=0.1)
    grid = reference.percentile(np.linspace(-4, 4, 500))
    assert (np.diff(grid) >= 0).all()
    tied = ReferencedDetector.of(Msp(), np.r_[np.zeros(600), np.ones(400)])
    np.testing.assert_allclose(tied.percentile(np.array([0.0, 1.0])), [30, 80], atol=0.2)


@pytest.mark.parametrize(("n", "most"), [(20, 1 / 21), (72, 1 / 73), (99, 0.01), (300, 0.011)])
def test_new_rows_like_the_known_ones_reach_the_limit_as_seldom_as_is_said(n, most):
    rng = np.random.default_rng(n)
    reached = [
        (ReferencedDetector.of(Msp(), rows[:n]).percentile(rows[n:]) >= 99).mean()
        for rows in rng.gamma(3, size=(400, n + 200))
    ]
    error = np.std(reached) / np.sqrt(len(reached))
    assert most - 4 * error - 0.002 < np.mean(reached) < most + 4 * error


def test_a_referenced_detector_comes_back_from_its_arrays(tmp_path):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(50, 3))
    detector = Energy.fit(np.empty((50, 0)), logits, np.zeros(50, dtype=int))
    first = ReferencedDetector.of(detector, detector.score(np.empty((50, 0)), logits))
    np.savez(tmp_path / "reference.npz", **first.to_arrays())
    with np.load(tmp_path / "reference.npz", allow_pickle=False) as arrays:
        back = ReferencedDetector.from_arrays(arrays)
    assert (back.threshold, back.n, back.detector.name) == (first.threshold, 50, "energy")
    scores = back.score(np.empty((50, 0)), logits)
    np.testing.assert_array_equal(back.percentile(scores), first.percentile(scores))
    with pytest.raises(InputError, match="lacks name"):
        ReferencedDetector.from_arrays({"quantiles": first.quantiles, "threshold": 0, "n": 1})
    with pytest.raises(InputError, match="no in-distribution rows"):
        ReferencedDetector.of(detector, np.array([]))
