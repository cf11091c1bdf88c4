"""Distances, label shift and the robustness index against plain implementations and known truth."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import chi2_contingency

from offsite.evaluation.shift.distances import (
    against_null,
    coral_distance,
    frechet_distance,
    principal_directions,
    whitened_mean_distance,
)
from offsite.evaluation.shift.label_shift import (
    BiasCorrectedTemperature,
    bbse_prior,
    em_prior,
    histogram_statistics,
    permuted_histograms,
    prior_corrected,
    total_variation,
)
from offsite.evaluation.shift.robustness import robustness_index
from offsite.evaluation.statistics.feature_stats import FeatureStats
from offsite.evaluation.statistics.resampling import patient_weights


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def pair():
    x = rng(1).normal(size=(300, 7)) @ rng(2).normal(size=(7, 7))
    y = rng(3).normal(size=(200, 7)) @ rng(4).normal(size=(7, 7)) + 1
    return x, y, FeatureStats.of(x, None, 1), FeatureStats.of(y, None, 1)


def test_frechet_equals_the_matrix_root(pair):
    x, y, one, two = pair
    s1, s2 = one.total_covariance(), two.total_covariance()
    root = np.trace(sqrtm(s1 @ s2)).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(two, one) == pytest.approx(expected, rel=1e-8)


def test_coral_and_whitened_mean_equal_their_formulas(pair):
    x, y, one, two = pair
    gap = one.total_covariance() - two.total_covariance()
    assert coral_distance(one, two) == pytest.approx((gap**2).sum() / (4 * 49))
    mean = x.mean(0) - y.mean(0)
    n = len(x) + len(y)
    pooled = FeatureStats.of(np.r_[x - x.mean(0), y - y.mean(0)], None, 1)
    inverse = np.linalg.inv(pooled.total_covariance())
    assert pooled.n == n
    assert whitened_mean_distance(one, two) == pytest.approx(mean @ inverse @ mean, rel=1e-6)


def test_the_whitened_mean_of_classes_is_free_of_prevalence():
    centres = np.array([[4.0, 0, 0], [0, 4.0, 0]])
    y1, y2 = (rng(1).random(3000) < 0.2).astype(int), (rng(2).random(3000) < 0.8).astype(int)
    x1, x2 = (centres[y] + rng(s).normal(size=(3000, 3)) for y, s in ((y1, 3), (y2, 4)))
    plain = whitened_mean_distance(FeatureStats.of(x1, None, 1), FeatureStats.of(x2, None, 1))
    by_class = whitened_mean_distance(FeatureStats.of(x1, y1, 2), FeatureStats.of(x2, y2, 2))
    assert plain > 1
    assert by_class < 0.02
    with pytest.raises(ValueError, match="no class in common"):
        whitened_mean_distance(
            FeatureStats.of(x1, np.zeros(3000, int), 2), FeatureStats.of(x2, np.ones(3000, int), 2)
        )


def test_samples_that_do_not_vary_have_no_whitened_mean():
    flat = FeatureStats.of(np.ones((5, 3)), None, 1)
    with pytest.raises(ValueError, match="do not vary"):
        whitened_mean_distance(flat, flat)
    assert frechet_distance(flat, FeatureStats.of(np.zeros((5, 3)), None, 1)) == pytest.approx(3)


def test_distances_are_read_against_halves_of_equal_size():
    reference = rng(1).normal(size=(400, 5))
    names = np.array([f"p{index // 2}" for index in range(400)])
    same, moved = rng(2).normal(size=(60, 5)), rng(3).normal(size=(60, 5)) + 1.0
    kinds = {"frechet": frechet_distance, "mean": whitened_mean_distance}
    for site, far in ((same, False), (moved, True)):
        found = against_null(site, reference, names, kinds, splits=25, seed=0)
        for to_site, to_itself in found.values():
            assert len(to_site) == len(to_itself) == 25
            assert (to_site.mean() > to_itself.max()) == far


def test_principal_directions_hold_the_variance():
    rows = rng(1).normal(size=(200, 6)) * [1, 9, 1, 5, 1, 1]
    axes = principal_directions(rows, 2)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)
    assert abs(axes[1, 0]) > 0.99
    assert abs(axes[3, 1]) > 0.98
    assert principal_directions(rows[:3], 6).shape == (6, 2)


def gaussians(prior, n, seed):
    """Labels and exact posteriors under even priors."""
    centres = np.array([[0.0, 0], [2.0, 0], [0, 2.0]])
    labels = rng(seed).choice(3, size=n, p=prior)
    rows = centres[labels] + rng(seed + 1).normal(size=(n, 2))
    density = np.exp(-((rows[:, None] - centres) ** 2).sum(axis=2) / 2)
    return labels, density / density.sum(axis=1, keepdims=True)


EVEN = np.full(3, 1 / 3)
TRUTH = np.array([0.7, 0.25, 0.05])


def test_em_finds_the_prior_and_its_correction_is_bayes():
    labels, p = gaussians(TRUTH, 6000, 1)
    estimate = em_prior(p, EVEN)
    np.testing.assert_allclose(estimate, TRUTH, atol=0.025)
    corrected = prior_corrected(p, EVEN, TRUTH)
    bayes = p * TRUTH / (p * TRUTH).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(corrected, bayes, rtol=1e-12)
    right = [(q.argmax(axis=1) == labels).mean() for q in (p, corrected)]
    assert right[1] > right[0]
    np.testing.assert_allclose(prior_corrected(p, EVEN, EVEN), p)


def test_em_maximises_the_likelihood_and_stays_where_nothing_shifted():
    _, p = gaussians(TRUTH, 3000, 3)
    estimate = em_prior(p, EVEN, tolerance=1e-9)

    def likelihood(prior):
        return np.log((p * prior / EVEN).sum(axis=1)).sum()

    for step in np.eye(3) - EVEN:
        for size in (-1e-3, 1e-3):
            assert likelihood(estimate + size * step) <= likelihood(estimate) + 1e-6
    np.testing.assert_allclose(em_prior(gaussians(EVEN, 6000, 5)[1], EVEN), EVEN, atol=0.02)


def test_em_of_weights_equals_em_of_repeated_rows():
    _, p = gaussians(TRUTH, 200, 7)
    weights = rng(1).integers(0, 4, size=(3, 200))
    found = em_prior(p, EVEN, weights, tolerance=1e-10, iterations=3000)
    for row, estimate in zip(weights, found, strict=True):
        again = em_prior(np.repeat(p, row, axis=0), EVEN, tolerance=1e-10, iterations=3000)
        np.testing.assert_allclose(estimate, again, atol=1e-6)


def test_a_class_that_the_source_lacks_stays_out():
    _, p = gaussians(TRUTH, 300, 9)
    prior = np.array([0.5, 0.5, 0.0])
    assert em_prior(p, prior)[2] == 0
    corrected = prior_corrected(p, prior, np.array([0.9, 0.1, 0.0]))
    np.testing.assert_allclose(corrected.sum(axis=1), 1)
    assert corrected[:, 2].max() == 0


def test_bbse_inverts_the_confusion_matrix_exactly():
    # Source and target made so that P(yhat | y) is the same in both, to the row.
    confusion = np.array([[8, 2, 0], [1, 8, 1], [0, 2, 8]])  # rows: truth
    source = [(p, y) for y in range(3) for p in range(3) for _ in range(confusion[y, p] * 10)]
    target = [
        p for y, k in enumerate((1, 3, 6)) for p in range(3) for _ in range(confusion[y, p] * k)
    ]
    predicted, labels = np.array(source).T
    found = bbse_prior(predicted, labels, np.array(target), 3)
    np.testing.assert_allclose(found, [0.1, 0.3, 0.6], atol=1e-12)
    assert bbse_prior(np.zeros(50, int), np.arange(50) % 3, np.zeros(9, int), 3) is None


def test_calibration_for_em_undoes_a_known_distortion():
    labels, p = gaussians(EVEN, 4000, 11)
    logs = 2.5 * np.log(p) + np.array([0.0, 0.8, -0.5])
    distorted = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    fitted = BiasCorrectedTemperature.fit(distorted, labels)
    assert fitted.scale == pytest.approx(1 / 2.5, rel=0.1)
    np.testing.assert_allclose(fitted(distorted), p, atol=0.05)
    _, target = gaussians(TRUTH, 6000, 13)
    logs = 2.5 * np.log(target) + np.array([0.0, 0.8, -0.5])
    shifted = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    wrong = total_variation(em_prior(shifted, EVEN), TRUTH)
    assert total_variation(em_prior(fitted(shifted), EVEN), TRUTH) < min(0.04, wrong)


def test_em_leaps_to_where_plain_steps_crawl():
    _, p = gaussians(TRUTH, 400, 15)
    p = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)  # classes that overlap far
    weights = rng(1).integers(0, 3, size=(20, 400)).astype(float)
    plain = np.tile(EVEN, (len(weights), 1))
    for _ in range(20_000):  # all draws at a time: a row's posterior is p * plain over their sum
        plain *= (weights / (plain @ p.T)) @ p / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(em_prior(p, EVEN, weights, tolerance=1e-10), plain, atol=1e-6)


def test_histogram_statistics_equal_scipys_chi_square():
    predicted = rng(1).integers(0, 3, 90)
    sides = rng(2).random((4, 90)) < 0.4
    first = np.array([np.bincount(predicted[side], minlength=5) for side in sides])
    everyone = np.bincount(predicted, minlength=5)  # two classes are never predicted
    for side, value in zip(sides, histogram_statistics(first, everyone), strict=True):
        table = [np.bincount(predicted[part], minlength=3) for part in (side, ~side)]
        assert value == pytest.approx(chi2_contingency(table, correction=False).statistic)


def test_permuting_kinds_of_patients_is_permuting_patients():
    units = rng(3).integers(0, 3, size=(40, 3))
    units[:, 0] += 1  # each has a row
    first, second = units[:15], units[15:]
    found = permuted_histograms(first, second, 20_000, rng(4))
    np.testing.assert_array_equal(found[0], first.sum(axis=0))
    generator = rng(5)
    plain = np.array([generator.permutation(units)[:15].sum(axis=0) for _ in range(20_000)])
    np.testing.assert_allclose(found[1:].mean(axis=0), plain.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(np.cov(found[1:].T), np.cov(plain.T), rtol=0.1, atol=0.1)


def drawn(patients):
    return patient_weights(patients, 100, rng(0))


def plain_index(features, labels, sites, patients, k):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    so = os = 0
    for i in range(len(unit)):
        order = [j for j in np.argsort(-(unit @ unit[i])) if patients[j] != patients[i]][:k]
        so += sum(labels[j] == labels[i] and sites[j] != sites[i] for j in order)
        os += sum(labels[j] != labels[i] and sites[j] == sites[i] for j in order)
    return so / (so + os)


def test_the_robustness_index_equals_a_plain_count():
    labels, sites = rng(1).integers(0, 3, 150), rng(2).integers(0, 3, 150)
    patients = np.array([f"p{index // 3}" for index in range(150)])
    features = rng(3).normal(size=(150, 6))
    features[np.arange(150), labels] += 1.5
    features[np.arange(150), 3 + sites] += 1.0
    found = robustness_index(
        features, labels, sites.astype(str), patients, neighbours=(7,), weights=drawn(patients)
    )
    assert found.value == pytest.approx(plain_index(features, labels, sites, patients, 7))
    assert found.low < found.value < found.high


def test_the_robustness_index_tells_biology_from_site():
    labels, sites = np.arange(240) % 2, (np.arange(240) // 2) % 2
    patients = np.array([f"p{index}" for index in range(240)])
    noise = 0.1 * rng(1).normal(size=(240, 4))
    by_class, by_site = noise.copy(), noise.copy()
    by_class[np.arange(240), labels] += 3
    by_site[np.arange(240), sites] += 3
    names = sites.astype(str)
    assert robustness_index(by_class, labels, names, patients, weights=drawn(patients)).value > 0.99
    assert robustness_index(by_site, labels, names, patients, weights=drawn(patients)).value < 0.01
    assert (
        robustness_index(by_site, labels, np.repeat("one", 240), patients, weights=drawn(patients))
        is None
    )
    assert (
        robustness_index(by_site, np.zeros(240, int), names, patients, weights=drawn(patients))
        is None
    )
