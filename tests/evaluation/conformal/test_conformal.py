"""Prediction sets: equal to crepes bin by bin, valid, contiguous for grades, honest when small."""

import numpy as np
import pytest
from crepes import ConformalClassifier
from scipy.stats import beta

from offsite.errors import InputError
from offsite.evaluation.conformal.sets import (
    ConformalSets,
    conformal_quantile,
    contiguous,
    coverage_sd,
    nonconformity,
)
from offsite.evaluation.conformal.weighted import (
    density_ratios,
    effective_rows,
    weighted_sets,
    weighted_thresholds,
)
from offsite.evaluation.settings import ConformalSettings


def sample(n, seed, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.choice(
        classes, size=n, p=np.arange(classes, 0, -1) / (classes * (classes + 1) / 2)
    )
    logits = np.linspace(2.5, 1.0, classes) * np.eye(classes)[labels] + rng.normal(
        size=(n, classes)
    )
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True), labels, rng.choice(["x", "y", "z"], size=n)


# Levels at which (n + 1) (1 - level) is not whole: there crepes keeps a class more than needed.
@pytest.mark.parametrize("level", [0.8017, 0.9013, 0.9507])
def test_sets_equal_crepes_in_every_bin(level):
    p, labels, sites = sample(600, 1)
    new, _, new_sites = sample(200, 2)
    settings = ConformalSettings(minimum_bin=1)
    found = ConformalSets.fit(p, labels, sites, settings).predict(new, new_sites, level)
    scores = 1 - p[np.arange(600), labels]
    bins = np.char.add(labels.astype(str), sites)
    oracle = ConformalClassifier().fit(scores, bins=bins)
    for label in range(4):
        # crepes judges all classes of a row in one bin; class bins need a call for each class.
        theirs = oracle.predict_set(
            1 - new[:, [label]],
            bins=np.char.add(str(label), new_sites),
            confidence=level,
            smoothing=False,
        )
        np.testing.assert_array_equal(found.members[:, label], theirs[:, 0].astype(bool))


def test_p_values_equal_crepes_and_agree_with_the_sets():
    p, labels, sites = sample(400, 3)
    new, _, new_sites = sample(150, 4)
    sets = ConformalSets.fit(p, labels, sites, ConformalSettings(by_site=False))
    found = sets.p_values(new, new_sites)
    oracle = ConformalClassifier().fit(1 - p[np.arange(400), labels], bins=labels)
    for label in range(4):
        theirs = oracle.predict_p(1 - new[:, [label]], bins=np.full(150, label), smoothing=False)
        np.testing.assert_allclose(found[:, label], theirs[:, 0], rtol=1e-12)
    for level in (0.83, 0.9):
        members = sets.predict(new, new_sites, level).members
        np.testing.assert_array_equal(members, found > 1 - level + 1e-9)


def test_each_class_gets_its_coverage_where_one_threshold_for_all_fails_the_rare_one():
    p, labels, sites = sample(4000, 5)
    new, truth, new_sites = sample(20000, 6)
    rows = np.arange(20000)
    by_class = ConformalSets.fit(p, labels, sites, ConformalSettings(by_site=False))
    overall = ConformalSets.fit(p, labels, sites, ConformalSettings(by_site=False, by_class=False))
    covered = by_class.predict(new, new_sites, 0.9).members[rows, truth]
    marginal = overall.predict(new, new_sites, 0.9).members[rows, truth]
    for label in range(4):
        share = covered[truth == label].mean()
        assert share == pytest.approx(0.9, abs=0.035)
    assert marginal.mean() == pytest.approx(0.9, abs=0.02)
    assert max(abs(marginal[truth == label].mean() - 0.9) for label in range(4)) > 0.04


def test_a_small_bin_backs_off_to_its_class_and_a_tiny_class_refers():
    p, labels, sites = sample(500, 7)
    keep = (labels != 3) | (np.cumsum(labels == 3) <= 10)  # ten rows of class 3 in all
    sets = ConformalSets.fit(p[keep], labels[keep], sites[keep], ConformalSettings(minimum_bin=60))
    own, local = sets.bin_of("x", 0)
    assert local
    assert len(own) == ((labels == 0) & keep & (sites == "x")).sum() >= 60
    parent, local = sets.bin_of("x", 2)
    assert not local
    assert len(parent) == ((labels == 2) & keep).sum()
    assert not sets.bin_of("unseen", 0)[1]
    new = sample(30, 8)[0]
    at_90 = sets.predict(new, np.repeat("x", 30), 0.9)
    assert not at_90.refer.any()  # 10 rows are enough for 90 % ...
    at_95 = sets.predict(new, np.repeat("x", 30), 0.95)
    assert at_95.refer.all()  # ... and 19 are needed for 95 %
    assert at_95.members[:, 3].all()
    np.testing.assert_array_equal(
        at_95.bin_rows[0], [len(own), len(sets.bin_of("x", 1)[0]), len(parent), 10]
    )


@pytest.mark.parametrize(("level", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99)])
def test_the_quantile_is_infinite_below_the_smallest_usable_n(level, needed):
    scores = np.arange(needed, dtype=float)
    assert conformal_quantile(scores, level) == needed - 1
    assert conformal_quantile(scores[:-1], level) == np.inf


def plain_interval_score(p, label):
    """Mass of the interval grown from the mode before it reaches the label."""
    low = high = int(np.argmax(p))
    mass = 0.0
    while not low <= label <= high:
        mass = p[low : high + 1].sum()
        left = p[low - 1] if low > 0 else -1
        right = p[high + 1] if high + 1 < len(p) else -1
        low, high = (low - 1, high) if left > right else (low, high + 1)
    return mass


def test_grade_scores_equal_growing_the_interval_step_by_step():
    p = np.random.default_rng(9).dirichlet(np.full(5, 0.7), size=200)
    found = nonconformity(p, ordered=True)
    plain = [[plain_interval_score(row, label) for label in range(5)] for row in p]
    np.testing.assert_allclose(found, plain, atol=1e-12)
    assert (found[np.arange(200), p.argmax(axis=1)] == 0).all()


def test_sets_of_grades_are_contiguous_never_empty_and_cover():
    p, labels, sites = sample(3000, 10)
    new, truth, new_sites = sample(5000, 11)
    sets = ConformalSets.fit(p, labels, sites, ConformalSettings(ordered=True))
    members = sets.predict(new, new_sites, 0.9).members
    assert members.any(axis=1).all()
    assert (
        np.abs(np.diff(np.pad(members, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1) == 2
    ).all()
    assert members[np.arange(5000), truth].mean() >= 0.88
    np.testing.assert_array_equal(
        contiguous(np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)),
        np.array([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool),
    )


def test_fitted_sets_come_back_from_their_arrays(tmp_path):
    p, labels, sites = sample(300, 12)
    hidden = np.where(np.arange(300) % 7 == 0, -1, labels)
    sets = ConformalSets.fit(p, hidden, sites, ConformalSettings(ordered=True, minimum_bin=20))
    np.savez(tmp_path / "sets.npz", **sets.to_arrays())
    with np.load(tmp_path / "sets.npz", allow_pickle=False) as arrays:
        back = ConformalSets.from_arrays(arrays)
    new, _, new_sites = sample(100, 13)
    for level in (0.9, 0.95):
        first, second = (each.predict(new, new_sites, level) for each in (sets, back))
        np.testing.assert_array_equal(first.members, second.members)
        np.testing.assert_array_equal(first.refer, second.refer)
    assert back.site_names == ("x", "y", "z")
    assert len(back.scores) == (hidden >= 0).sum()
    with pytest.raises(InputError, match="lack scores"):
        ConformalSets.from_arrays({})


@pytest.mark.parametrize(("n", "level"), [(100, 0.9), (37, 0.95), (1000, 0.99)])
def test_the_spread_of_coverage_is_that_of_the_beta_law(n, level):
    misses = int(np.floor((n + 1) * (1 - level) + 1e-9))
    assert coverage_sd(n, level) == pytest.approx(beta(n + 1 - misses, misses).std())
    assert coverage_sd(8, 0.9) is None


def test_equal_weights_give_the_unweighted_threshold():
    scores = np.sort(np.random.default_rng(1).random(57))
    for level in (0.8, 0.9, 0.95):
        found = weighted_thresholds(scores, np.ones(57), np.ones(3), level)
        np.testing.assert_array_equal(found, conformal_quantile(scores, level))
    assert weighted_thresholds(scores[:5], np.ones(5), np.ones(1), 0.9)[0] == np.inf
    assert weighted_thresholds(scores[:0], np.ones(0), np.ones(1), 0.9)[0] == np.inf


def test_weights_act_as_repeated_rows():
    scores = np.array([0.1, 0.4, 0.2, 0.9])
    weights = np.array([3.0, 10.0, 5.0, 2.0])
    repeated = np.sort(np.repeat(scores, weights.astype(int)))
    for level in (0.5, 0.8, 0.9):
        found = weighted_thresholds(scores, weights, np.ones(1), level)[0]
        assert found == conformal_quantile(repeated, level)


def test_effective_rows_count_weight_and_overlap():
    assert effective_rows(np.ones(12), np.ones(3)) == pytest.approx(12)
    assert effective_rows(np.array([1.0, 0, 0]), np.ones(3)) == pytest.approx(1)
    assert effective_rows(np.zeros(0), np.ones(3)) == 0
    # A target apart from every calibration row: their weights are equal and small, its own large.
    assert effective_rows(np.full(200, 0.05), np.full(50, 20.0)) == pytest.approx(0.5)
    # With true ratios both counts agree: N(0, 1) seen from N(1, 1), ratio exp(x - 1/2).
    rng = np.random.default_rng(1)
    weights = np.exp(rng.normal(size=20_000) - 0.5)
    own = np.exp(rng.normal(size=20_000) + 0.5)
    assert weights.sum() / own.mean() == pytest.approx(20_000 / np.e, rel=0.1)
    assert effective_rows(weights, own) == pytest.approx(20_000 / np.e, rel=0.1)


def shifted(n, centre, seed):
    """One feature; the classes mix at 0, so coverage depends on where the rows are."""
    rng = np.random.default_rng(seed)
    x = centre + rng.normal(size=n)
    truth = 1 / (1 + np.exp(-2 * x))
    labels = (rng.random(n) < truth).astype(int)
    model = 1 / (1 + np.exp(-3 * x - 1))  # not calibrated: the threshold must make up for it
    return x[:, None], np.column_stack([1 - model, model]), labels


def test_weighted_sets_mend_the_coverage_that_covariate_shift_breaks():
    x, p, labels = shifted(3000, -1.5, 1)
    far_x, far_p, truth = shifted(3000, 0.3, 2)
    settings = ConformalSettings(by_class=False, by_site=False)
    plain = ConformalSets.fit(p, labels, np.repeat("s", 3000), settings)
    names = np.array([f"p{index}" for index in range(3000)])
    ratios, own = density_ratios(x, far_x, names, np.char.add("t", names), settings)
    found = weighted_sets((p, labels, ratios), (far_p, own), 0.9, settings)
    rows = np.arange(3000)
    before = plain.predict(far_p, np.repeat("s", 3000), 0.9).members[rows, truth].mean()
    after = found.members[rows, truth].mean()
    assert abs(before - 0.9) > 0.04
    assert abs(after - 0.9) < 0.025
    assert 50 < found.effective[0] < 3000
    assert not found.refer.any()


def test_too_few_effective_rows_refer():
    _, p, labels = shifted(60, 0.0, 3)
    weights = np.where(np.arange(60) == 0, 1000.0, 1.0)
    settings = ConformalSettings(by_class=False)
    found = weighted_sets((p, labels, weights), (p[:5], np.ones(5)), 0.95, settings)
    assert found.refer.all()
    assert found.members.all()
    assert found.effective[0] < 20
