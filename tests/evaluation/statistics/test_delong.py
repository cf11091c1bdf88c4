"""The variance of an AUROC, by row and by patient."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from offsite.evaluation.statistics.delong import (
    auroc_interval,
    averaged,
    covariance,
    degrees_of_freedom,
    hanley_mcneil,
    newcombe_interval,
    paired_difference,
    paired_test,
    placements,
)


@pytest.fixture(scope="module")
def rows():
    """Two scores of 150 rows, with ties."""
    rng = np.random.default_rng(0)
    positive = rng.random(150) < 0.4
    return positive, np.round(rng.normal(size=150) + positive, 1), rng.normal(size=150) + positive


def test_area_is_scikit_learns(rows) -> None:
    positive, tied, _ = rows
    assert placements(tied, positive).auroc == pytest.approx(
        roc_auc_score(positive, tied), abs=1e-12
    )


def test_variance_equals_confidenceinterval(rows) -> None:
    oracle = pytest.importorskip("confidenceinterval.delong")
    positive, _, scores = rows
    area, variance = oracle.delong_roc_variance(positive.astype(int), scores)
    found = placements(scores, positive)
    # Their midranks are in single precision.
    assert found.auroc == pytest.approx(float(area), abs=1e-6)
    assert covariance(found, found) == pytest.approx(float(variance), rel=1e-4)


def test_variance_equals_the_formula_on_all_pairs(rows) -> None:
    positive, tied, _ = rows
    pairs = tied[positive][:, None] - tied[~positive][None, :]
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    m, n = wins.shape
    wanted = wins.mean(axis=1).var(ddof=1) / m + wins.mean(axis=0).var(ddof=1) / n
    found = placements(tied, positive)
    assert covariance(found, found) == pytest.approx(wanted, rel=1e-12)


def test_rows_repeated_within_their_patient_change_nothing(rows) -> None:
    positive, scores, _ = rows
    plain = placements(scores, positive)
    units = np.repeat(np.arange(150), 7)
    repeated = placements(np.repeat(scores, 7), np.repeat(positive, 7), units)
    assert repeated.auroc == pytest.approx(plain.auroc, abs=1e-13)
    assert covariance(repeated, repeated) == pytest.approx(covariance(plain, plain), rel=1e-10)
    ignored = placements(np.repeat(scores, 7), np.repeat(positive, 7))
    assert covariance(ignored, ignored) < covariance(plain, plain) / 6


def test_interval_stays_inside_and_surrounds_the_area(rows) -> None:
    positive, scores, _ = rows
    low, high = auroc_interval(placements(scores, positive))
    assert 0 < low < placements(scores, positive).auroc < high < 1


def test_a_perfect_area_still_has_an_uncertain_lower_bound() -> None:
    scores = np.arange(40.0)
    low, high = auroc_interval(placements(scores, scores >= 20))
    assert high == 1.0
    assert 0.85 < low < 0.93
    few = auroc_interval(placements(np.arange(8.0), np.arange(8) >= 4))
    assert few[0] < low


def test_score_interval_is_symmetric_about_one_half() -> None:
    low, high = newcombe_interval(0.3, 15, 15)
    other_low, other_high = newcombe_interval(0.7, 15, 15)
    assert (low, high) == pytest.approx((1 - other_high, 1 - other_low), abs=1e-9)
    assert newcombe_interval(0.0, 15, 15)[0] == 0.0


def test_paired_test_is_antisymmetric_and_sharper_than_unpaired(rows) -> None:
    positive, _, scores = rows
    rng = np.random.default_rng(1)
    one, other = (
        placements(scores, positive),
        placements(scores + 0.3 * rng.normal(size=150), positive),
    )
    low, high, p_value = paired_test(one, other)
    assert paired_test(other, one) == pytest.approx((-high, -low, p_value))
    gap = paired_difference(one, other)
    assert gap.auroc == pytest.approx((low + high) / 2)
    apart = covariance(one, one) + covariance(other, other)
    assert covariance(gap, gap) < 0.5 * apart
    assert covariance(gap, gap) == pytest.approx(apart - 2 * covariance(one, other), rel=1e-10)
    assert paired_test(one, one) is None


def test_degrees_of_freedom_lie_between_the_rarer_side_and_both_sides(rows) -> None:
    positive, scores, _ = rows
    m, n = positive.sum(), (~positive).sum()
    assert degrees_of_freedom(placements(scores, positive)) == max(min(m, n) - 1, 1)


def test_one_side_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="positive and negative"):
        placements(np.arange(3.0), np.ones(3, dtype=bool))


def test_a_mean_of_areas_rests_on_its_rarest_class_and_has_an_interval_at_twenty_patients() -> None:
    labels = np.repeat([0, 1, 2], [12, 5, 3])
    scores = np.random.default_rng(4).normal(size=(20, 3)) + 1.5 * np.eye(3)[labels]
    areas = [placements(scores[:, c], labels == c) for c in range(3)]
    whole = averaged(areas)
    variances = np.array([covariance(area, area) for area in areas])
    degrees = np.array([degrees_of_freedom(area) for area in areas])
    wanted = variances.sum() ** 2 / (variances**2 / degrees).sum()
    assert degrees_of_freedom(whole) == pytest.approx(wanted)
    assert min(degrees) <= degrees_of_freedom(whole) < 19
    pairs = [[covariance(one, other) for other in areas] for one in areas]
    assert covariance(whole, whole) == pytest.approx(np.mean(pairs))
    low, high = auroc_interval(whole)
    assert 0 < low < whole.auroc < high < 1


def test_a_mean_of_areas_of_patients_who_seem_alike_is_no_surer_than_of_their_rows() -> None:
    """Two patients of a class whose rows rank alike: between them there is no variance to be seen."""
    units = np.repeat(np.arange(12), 3)
    labels = np.repeat([0, 1, 2], [24, 6, 6])
    scores = np.random.default_rng(2).normal(size=(36, 3)) + np.eye(3)[labels]
    scores[27:30], scores[33:36] = scores[24:27], scores[30:33]
    areas = [placements(scores[:, c], labels == c, units) for c in range(3)]
    whole = averaged(areas)
    rows = [
        hanley_mcneil(area.auroc, *np.bincount(labels == c)[::-1]) for c, area in enumerate(areas)
    ]
    assert whole.independent == pytest.approx(sum(rows) / 9)
    assert covariance(whole, whole) >= whole.independent - 1e-12
    alone = [placements(scores[:, c], labels == c) for c in range(3)]
    assert averaged(alone).independent == 0
    assert 0.2 < hanley_mcneil(0.75, 12, 24) / covariance(areas[0], areas[0]) < 5


def test_areas_of_some_of_the_rows_have_a_place_for_every_unit() -> None:
    scores, positive = np.array([0.2, 0.9, 0.4]), np.array([False, True, False])
    assert len(placements(scores, positive, np.array([0, 2, 3]), 9).positive) == 9
