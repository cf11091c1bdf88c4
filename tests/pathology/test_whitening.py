import numpy as np
import pytest
from sklearn.decomposition import PCA

from offsite.errors import InputError
from offsite.pathology.whitening import Moments, whitening

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(12, 12)) * np.linspace(3, 0.2, 12)


def slides(sizes=(40, 40, 40), seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(size=12), 1, (size, 12)) @ MIX + 7 for size in sizes]


def read(rows, moments, found, scale):
    return (rows - moments.mean) / scale @ found.directions.T


def test_moments_are_those_of_slides_of_equal_weight():
    uneven = slides((5, 80, 31))
    weights = np.concatenate([np.full(len(rows), 1 / len(rows)) for rows in uneven])
    rows = np.concatenate(uneven)
    found = Moments.of(uneven)
    np.testing.assert_allclose(found.mean, np.average(rows, axis=0, weights=weights))
    expected = np.cov(rows.T, aweights=weights, ddof=0)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-9)
    np.testing.assert_allclose(found.deviation, np.sqrt(np.diag(expected)))
    assert found.tiles == 116


def test_sums_keep_their_digits_far_from_nought():
    near = Moments.of(slides())
    far = Moments.of(rows + 1e6 for rows in slides())
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-6)


def test_whitened_training_instances_have_covariance_one_and_are_those_of_principal_components():
    rows, moments = np.concatenate(slides()), Moments.of(slides())
    scale = np.linspace(0.5, 2, 12)
    found = whitening(moments, scale, 12)
    white = read(rows, moments, found, scale)
    np.testing.assert_allclose(white.T @ white / len(rows), np.eye(12), atol=1e-4)
    assert (found.explained, found.note) == (pytest.approx(1), "")
    plain = PCA(5, whiten=True, svd_solver="full").fit(rows)
    mine = read(rows, moments, whitening(moments, scale, 5), scale)
    theirs = plain.transform(rows) * np.sqrt(len(rows) / (len(rows) - 1))
    np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=1e-4)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_a_power_of_the_deviation_is_left_and_the_mean_square_is_one(power):
    rows, moments = np.concatenate(slides()), Moments.of(slides())
    white = read(rows, moments, whitening(moments, np.ones(12), 6, power), np.ones(12))
    covariance = white.T @ white / len(rows)
    variances = np.linalg.eigvalsh(np.cov(rows.T))[::-1][:6]
    expected = variances ** (1 - power)
    np.testing.assert_allclose(np.diag(covariance), expected / expected.mean(), rtol=1e-3)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)


def test_the_sign_of_a_direction_is_not_the_machine_s():
    found = whitening(Moments.of(slides()), np.ones(12), 4).directions
    assert (found[np.arange(4), np.abs(found).argmax(axis=1)] > 0).all()


def test_a_constant_feature_takes_no_direction():
    rows = np.concatenate(slides())
    rows[:, 3] = 4.0
    found = whitening(Moments.of([rows]), np.ones(12), 12)
    assert (len(found.directions), found.note) == (11, "12 directions were asked for; 11 vary")
    np.testing.assert_allclose(found.directions[:, 3], 0, atol=1e-6)


def test_few_tiles_give_few_directions_and_it_is_said():
    found = whitening(Moments.of(slides((9, 9, 9))), np.ones(12), 12)
    assert len(found.directions) == 6
    assert found.note == "12 directions were asked for; 27 tiles carry 6"
    assert whitening(Moments.of(slides((9, 9, 9))), np.ones(12), 6).note == ""


def test_features_that_say_nothing_or_are_no_numbers_are_refused():
    with pytest.raises(InputError) as caught:
        whitening(Moments.of([np.ones((20, 4))]), np.ones(4), 4)
    assert caught.value.code == "constant_features"
    broken = slides()
    broken[1][3, 2] = np.nan
    with pytest.raises(InputError) as caught:
        Moments.of(broken)
    assert caught.value.code == "not_finite"
