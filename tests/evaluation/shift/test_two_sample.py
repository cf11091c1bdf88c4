"""Two-sample statistics against double loops, and the null of whole patients."""

from functools import partial

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from offsite.evaluation.predictions.roles import patient_folds
from offsite.evaluation.shift.classifier_test import (
    _auroc_columns,
    classifier_test,
    out_of_fold,
    site_predictability,
)
from offsite.evaluation.shift.two_sample import (
    TwoSample,
    cluster_codes,
    energy_test,
    gaussian_kernel,
    kernel_statistics,
    kernel_test,
    mmd_test,
    patient_assignments,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def singles(count, prefix):
    return np.array([f"{prefix}{index}" for index in range(count)])


def plain_statistic(kernel, first, patients):
    """Means over pairs of different patients, pair by pair."""
    sums, counts = np.zeros(3), np.zeros(3)
    for i in range(len(kernel)):
        for j in range(len(kernel)):
            side = 2 if first[i] != first[j] else 0 if first[i] else 1
            if side == 2 or patients[i] != patients[j]:
                sums[side] += kernel[i, j]
                counts[side] += 1
    means = sums / counts
    return means[0] + means[1] - 2 * means[2]


@pytest.mark.parametrize("per_patient", [1, 3])
def test_one_product_gives_every_permutation_that_a_double_loop_gives(per_patient):
    rows = rng().normal(size=(36, 4))
    kernel = np.exp(-cdist(rows, rows, "sqeuclidean") / 8)
    first = np.arange(36) < 12
    patients = np.array([f"p{index // per_patient}" for index in range(36)])
    assignments = patient_assignments(first, patients, 6, rng(1))
    found = kernel_statistics(kernel.copy(), cluster_codes(first, patients), assignments)
    plain = [plain_statistic(kernel, column, patients) for column in assignments.T]
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(assignments[:, 0], first)


def test_a_permutation_moves_patients_whole_and_keeps_their_number():
    patients = np.repeat(singles(30, "p"), rng().integers(1, 5, 30))
    first = np.isin(patients, singles(10, "p"))
    assignments = patient_assignments(first, patients, 50, rng(1))
    for column in assignments.T:
        share = [column[patients == name].mean() for name in np.unique(patients)]
        assert set(share) == {0.0, 1.0}
        assert sum(share) == 10
    assert len({column.tobytes() for column in assignments.T}) > 45


def test_a_name_in_both_samples_is_two_patients():
    first = np.array([True, True, False, False])
    codes = cluster_codes(first, np.array(["x", "y", "x", "x"]))
    assert len(np.unique(codes)) == 3
    assert codes[2] == codes[3] != codes[0]


def test_mmd_equals_the_textbook_formula():
    x, y = rng(1).normal(size=(40, 5)), rng(2).normal(size=(30, 5)) + 0.5
    kernel = partial(gaussian_kernel, bandwidth=2.0)
    names = singles(40, "x"), singles(30, "y")
    found = kernel_test(kernel, x, y, *names, permutations=19, generator=rng())
    kxx, kyy, kxy = (np.exp(-cdist(a, b, "sqeuclidean") / 8) for a, b in ((x, x), (y, y), (x, y)))
    expected = (kxx.sum() - 40) / (40 * 39) + (kyy.sum() - 30) / (30 * 29) - 2 * kxy.mean()
    assert found.statistic == pytest.approx(expected, abs=1e-6)


def test_the_default_bandwidth_is_the_median_distance():
    x, y = rng(1).normal(size=(25, 3)), rng(2).normal(size=(25, 3))
    pooled = np.concatenate([x, y])
    median = np.median(cdist(pooled, pooled)[np.triu_indices(50, 1)])
    arguments = {"permutations": 19, "first_patients": singles(25, "x")}
    arguments["second_patients"] = singles(25, "y")
    kernel = partial(gaussian_kernel, bandwidth=median)
    given = kernel_test(kernel, x, y, generator=rng(), **arguments)
    default = mmd_test(x, y, generator=rng(), **arguments)
    assert default.statistic == pytest.approx(given.statistic, rel=1e-3)


def test_energy_distance_equals_scipy_distances():
    x, y = rng(1).normal(size=(40, 5)), rng(2).normal(size=(30, 5)) + 0.5
    found = energy_test(x, y, singles(40, "x"), singles(30, "y"), permutations=19, generator=rng())
    expected = (
        2 * cdist(x, y).mean() - cdist(x, x).sum() / (40 * 39) - cdist(y, y).sum() / (30 * 29)
    )
    assert found.statistic == pytest.approx(expected, abs=1e-5)


def test_a_shift_is_found_and_equal_samples_pass():
    x, y = rng(1).normal(size=(150, 10)), rng(2).normal(size=(150, 10))
    names = {"first_patients": singles(150, "x"), "second_patients": singles(150, "y")}
    for test in (mmd_test, energy_test):
        shifted = test(x, y + 0.4, permutations=199, generator=rng(), **names)
        assert shifted.p_value == pytest.approx(1 / 200)
        assert shifted.statistic > shifted.null_high
        same = test(x, y, permutations=199, generator=rng(), **names)
        assert same.p_value > 0.05


def test_patients_with_many_images_do_not_pass_for_a_shift():
    # Patients differ, sites do not: image by image this looks like a shift, by patient it does not.
    effect = np.repeat(rng(7).normal(size=(30, 6)), 20, axis=0)
    rows = effect + 0.1 * rng(8).normal(size=(600, 6))
    patients = np.repeat(singles(30, "p"), 20)
    first = np.arange(600) < 300
    by_patient = mmd_test(
        rows[first],
        rows[~first],
        patients[first],
        patients[~first],
        permutations=199,
        generator=rng(),
    )
    by_image = mmd_test(
        rows[first],
        rows[~first],
        singles(300, "x"),
        singles(300, "y"),
        permutations=199,
        generator=rng(),
    )
    assert by_image.p_value < 0.01 < 0.05 < by_patient.p_value


def test_what_cannot_be_tested_is_none():
    x = rng().normal(size=(5, 2))
    assert (
        mmd_test(x, x, np.array(["a"] * 5), singles(5, "b"), permutations=19, generator=rng())
        is None
    )
    constant = np.ones((5, 2))
    assert (
        mmd_test(
            constant, constant, singles(5, "a"), singles(5, "b"), permutations=19, generator=rng()
        )
        is None
    )
    assert TwoSample.of(np.array([np.nan, 1.0])) is None


def test_p_values_count_the_true_assignment_and_ties():
    assert TwoSample.of(np.array([3.0, 1.0, 2.0, 3.0, 4.0])).p_value == pytest.approx(3 / 5)
    assert TwoSample.of(np.array([5.0, *np.arange(4.0)])).p_value == pytest.approx(1 / 5)


@pytest.mark.parametrize("shape", [(40, 90), (120, 6)])
def test_out_of_fold_predictions_equal_scikit_learns_ridge(shape):
    features = rng(3).normal(size=shape) * np.linspace(1, 5, shape[1]) + 7
    targets = rng(4).integers(0, 2, size=(shape[0], 3)).astype(float)
    folds = np.arange(shape[0]) % 4
    found = out_of_fold(features, targets, folds, ridge=0.1)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    centred = targets - targets.mean(axis=0)
    penalty = 0.1 * (standard**2).sum() / len(standard)
    for fold in range(4):
        left = folds == fold
        model = Ridge(alpha=penalty, fit_intercept=False).fit(standard[~left], centred[~left])
        np.testing.assert_allclose(found[left], model.predict(standard[left]), atol=1e-8)


def test_auroc_of_columns_equals_scikit_learn():
    scores, positive = rng(5).normal(size=(50, 4)), rng(6).random((50, 4)) < 0.4
    positive[:, 3] = True
    found = _auroc_columns(scores, positive)
    for column in range(3):
        expected = roc_auc_score(positive[:, column], scores[:, column])
        assert found[column] == pytest.approx(expected)
    assert np.isnan(found[3])


def test_the_classifier_test_finds_a_shift_with_an_interval():
    x, y = rng(1).normal(size=(150, 20)), rng(2).normal(size=(150, 20))
    y[:, 0] += 1.5
    options = {"permutations": 99}
    found = classifier_test(x, y, singles(150, "x"), singles(150, "y"), **options)
    assert found.p_value == pytest.approx(0.01)
    assert 0.7 < found.low < found.statistic < found.high
    y[:, 0] -= 1.5
    assert classifier_test(x, y, singles(150, "x"), singles(150, "y"), **options).p_value > 0.05


def test_recognising_patients_is_not_telling_sites():
    # 40 patients with a look of their own, 10 images each; the sites do not differ.
    rows = np.repeat(rng(3).normal(size=(40, 60)), 10, axis=0) + 0.2 * rng(4).normal(size=(400, 60))
    patients = np.repeat(singles(40, "p"), 10)
    first = np.arange(400) < 200
    options = {"permutations": 99}
    by_image = classifier_test(
        rows[first], rows[~first], singles(200, "x"), singles(200, "y"), **options
    )
    grouped = classifier_test(
        rows[first], rows[~first], patients[first], patients[~first], **options
    )
    assert by_image.statistic > 0.95
    assert grouped.statistic < 0.75
    assert grouped.p_value > 0.05


def test_site_predictability_is_chance_without_sites_and_high_with_them():
    sites = np.repeat(["a", "b", "c"], 80)
    patients = singles(240, "p")
    rows = rng(1).normal(size=(240, 12))
    none = site_predictability(rows, sites, patients, permutations=99)
    assert abs(none.statistic - 1 / 3) < 0.12
    assert none.p_value > 0.05
    rows[sites == "b", 0] += 3
    rows[sites == "c", 1] += 3
    some = site_predictability(rows, sites, patients, permutations=99)
    assert some.statistic > 0.8
    assert some.p_value == pytest.approx(0.01)
    assert site_predictability(rows, np.repeat("a", 240), patients, permutations=19) is None


def test_folds_keep_patients_together_and_spread_them():
    patients = np.repeat(singles(23, "p"), 4)
    folds = patient_folds(patients, 5, seed=1)
    assert all(len(np.unique(folds[patients == name])) == 1 for name in np.unique(patients))
    np.testing.assert_array_equal(np.sort(np.bincount(folds)), [16, 16, 20, 20, 20])
    np.testing.assert_array_equal(folds, patient_folds(patients, 5, seed=1))
    assert len(np.unique(patient_folds(np.array(["x", "y"]), 5, seed=1))) == 2
