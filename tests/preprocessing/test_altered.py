"""Altered copies are what another camera might have given, and the same each time."""

import doctest

import numpy as np

from offsite.preprocessing.augment import altered as module
from offsite.preprocessing.augment.altered import altered

PICTURE = np.random.default_rng(0).integers(60, 200, (32, 32, 3)).astype(np.uint8)


def test_the_original_and_its_mirror_image_come_first():
    assert np.array_equal(altered(PICTURE, 0, key=1), PICTURE)
    assert np.array_equal(altered(PICTURE, 1, key=1), PICTURE[:, ::-1])


def test_a_copy_is_decided_by_picture_and_number():
    assert np.array_equal(altered(PICTURE, 2, key=5), altered(PICTURE, 2, key=5))
    assert not np.array_equal(altered(PICTURE, 2, key=5), altered(PICTURE, 3, key=5))
    assert not np.array_equal(altered(PICTURE, 2, key=5), altered(PICTURE, 2, key=6))


def test_copies_differ_in_contrast_and_colour_and_keep_shape_and_kind():
    copies = [altered(PICTURE, 2, key=key) for key in range(40)]
    assert {(one.shape, one.dtype) for one in copies} == {(PICTURE.shape, np.dtype(np.uint8))}
    contrast = np.array([one.std() for one in copies]) / PICTURE.std()
    colour = np.array([one.mean(axis=(0, 1)) for one in copies])
    assert contrast.min() < 0.8
    assert contrast.max() > 1.1
    assert np.ptp(colour[:, 0] - colour[:, 2]) > 4


def test_a_plain_picture_stays_plain():
    plain = np.full((32, 32, 3), 128, np.uint8)
    assert all(altered(plain, 2, key=key).std(axis=(0, 1)).max() < 1 for key in range(20))


def test_examples():
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
