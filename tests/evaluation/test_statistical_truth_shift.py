"""Long checks of what the statistics promise: level of tests, coverage of sets, site by site."""

import numpy as np
import pytest

from offsite.evaluation.conformal.sets import ConformalSets
from offsite.evaluation.settings import ConformalSettings
from offsite.evaluation.shift.classifier_test import classifier_test
from offsite.evaluation.shift.label_shift import histogram_statistics, permuted_histograms
from offsite.evaluation.shift.label_shift_fit import SourceOutputs
from offsite.evaluation.shift.two_sample import TwoSample, energy_test, mmd_test
from offsite.evaluation.statistics.resampling import patient_weights

pytestmark = pytest.mark.slow

ROUNDS = 1000


def clustered(rng, patients, dimensions=12):
    """Rows of patients with one to four images each, who differ from one another."""
    sizes = rng.integers(1, 5, patients)
    effects = np.repeat(rng.normal(size=(patients, dimensions)), sizes, axis=0)
    names = np.repeat([f"p{index}" for index in range(patients)], sizes)
    return effects + 0.5 * rng.normal(size=effects.shape), names


def rejections(test):
    return np.mean([test(np.random.default_rng([7, index])) <= 0.05 for index in range(ROUNDS)])


@pytest.mark.parametrize("statistic", [mmd_test, energy_test])
def test_kernel_tests_reject_three_to_seven_percent_without_shift(statistic):
    def p_value(rng):
        x, first = clustered(rng, 20)
        y, second = clustered(rng, 30)
        return statistic(x, y, first, second, permutations=99, generator=rng).p_value

    assert 0.03 <= rejections(p_value) <= 0.07


def test_classifier_test_rejects_three_to_seven_percent_without_shift():
    def p_value(rng):
        x, first = clustered(rng, 20)
        y, second = clustered(rng, 30)
        seed = int(rng.integers(2**31))
        options = {"permutations": 99, "seed": seed}
        return classifier_test(x, y, first, second, **options).p_value

    assert 0.03 <= rejections(p_value) <= 0.07


def test_predicted_class_histograms_reject_three_to_seven_percent_without_shift():
    def p_value(rng):
        x, first = clustered(rng, 30)
        y, second = clustered(rng, 50)
        predicted = np.digitize(np.concatenate([x, y])[:, 0], [-0.5, 0.5])
        names = np.unique(np.r_[first, np.char.add("q", second)], return_inverse=True)[1]
        table = np.zeros((names.max() + 1, 3), dtype=np.int64)
        np.add.at(table, (names, predicted), 1)
        inside = np.isin(np.arange(len(table)), names[: len(x)])
        drawn = permuted_histograms(table[inside], table[~inside], 99, rng)
        return TwoSample.of(histogram_statistics(drawn, table.sum(axis=0))).p_value

    assert 0.03 <= rejections(p_value) <= 0.07


@pytest.mark.parametrize("per_patient", [1, 3])
def test_label_shift_is_accepted_where_it_is_one(per_patient):
    def outputs(rng, patients, prior):
        labels = rng.choice(3, size=patients, p=prior).repeat(per_patient)
        logits = 1.5 * np.eye(3)[labels] + rng.normal(size=(len(labels), 3))
        logits += np.repeat(0.5 * rng.normal(size=(patients, 3)), per_patient, axis=0)
        odds = np.exp(logits)
        return (
            odds / odds.sum(axis=1, keepdims=True),
            labels,
            np.arange(patients).repeat(per_patient),
        )

    def p_value(rng):
        *source, names = outputs(rng, 300, [0.6, 0.3, 0.1])
        weights = patient_weights(names, 99, rng)
        p, _, _ = outputs(rng, 120, [0.2, 0.3, 0.5])
        found = SourceOutputs.of(*source, weights.__matmul__)
        return found.label_shift_test(p, cases=120, generator=rng).p_value

    assert rejections(p_value) <= 0.08


def test_rows_that_ignore_patients_reject_far_too_often():
    def p_value(rng):
        x, first = clustered(rng, 20)
        y, second = clustered(rng, 30)
        singles = [np.arange(len(rows)).astype(str) for rows in (first, second)]
        return mmd_test(x, y, *singles, permutations=99, generator=rng).p_value

    assert rejections(p_value) > 0.1


def cases(rng, n, sites=("large", "small", "odd")):
    site = rng.choice(sites, size=n, p=[0.6, 0.25, 0.15])
    shares = np.where(site[:, None] == "odd", [0.2, 0.4, 0.4], [0.7, 0.2, 0.1])
    labels = (shares.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    sharpness = np.where(site == "odd", 0.8, 1.8)  # the model is worse at the odd site
    logits = sharpness[:, None] * np.eye(3)[labels] + rng.normal(size=(n, 3))
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True), labels, site


@pytest.mark.parametrize("ordered", [False, True])
def test_sets_cover_every_class_at_every_site_as_often_as_they_say(ordered):
    settings = ConformalSettings(minimum_bin=9, ordered=ordered)
    covered: dict[tuple[str, int], list[float]] = {}
    local: dict[tuple[str, int], list[bool]] = {}
    for index in range(300):
        rng = np.random.default_rng([9, index])
        sets = ConformalSets.fit(*cases(rng, 1200), settings)
        p, labels, site = cases(rng, 1500)
        members = sets.predict(p, site, 0.9).members[np.arange(1500), labels]
        for name in np.unique(site):
            for label in range(3):
                own = (site == name) & (labels == label)
                covered.setdefault((name, label), []).append(members[own].mean())
                local.setdefault((name, label), []).append(sets.bin_of(name, label)[1])
    for key, shares in covered.items():
        assert all(local[key]), key
        # Exact on average: between 90 % and 90 % + 1 / (n + 1) without ties.
        assert np.mean(shares) > 0.89, key
        if not ordered:
            assert np.mean(shares) < 0.945, key


def test_one_threshold_for_all_sites_fails_the_odd_one():
    settings = ConformalSettings(by_site=False, by_class=False)
    shares = []
    for index in range(100):
        rng = np.random.default_rng([9, index])
        sets = ConformalSets.fit(*cases(rng, 1200), settings)
        p, labels, site = cases(rng, 1500)
        covered = sets.predict(p, site, 0.9).members[np.arange(1500), labels]
        shares.append(covered[site == "odd"].mean())
    assert np.mean(shares) < 0.85


def test_the_coverage_of_a_bin_spreads_as_the_beta_law_says():
    shares = []
    for index in range(400):
        rng = np.random.default_rng([11, index])
        scores = rng.random(100)
        p = np.column_stack([1 - scores, scores])
        settings = ConformalSettings(by_site=False)
        sets = ConformalSets.fit(p, np.zeros(100, int), np.repeat("s", 100), settings)
        shares.append(sets.threshold("s", 0, 0.9))  # of uniform scores: the coverage itself
    n, misses = 100, 10
    assert np.mean(shares) == pytest.approx((n + 1 - misses) / (n + 1), abs=0.005)
    assert np.std(shares) == pytest.approx(0.0296, abs=0.004)
