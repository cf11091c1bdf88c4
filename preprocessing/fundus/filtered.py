"""Filtered pictures: where the local mean was subtracted, retina and surround are both mid grey."""

from collections.abc import Iterator

import cv2
import numpy as np

BRIGHTEST_SURROUND = 156  # paper and walls are brighter
_TEXTURES = (2.5, 3.5, 5.0)  # grey levels; what a compression leaves around the disc differs
_FLAT = 6.0  # grey levels: real copies 5.0 at most
_CONTRAST = (10.0, 40.0)  # grey levels: real copies 14 to 30
_SMOOTH = 0.45  # between neighbours: real copies 0.57 and more, noise 0
_RING = 15.0  # grey levels between a corner and the picture: real copies 20 and more


def is_grey(colour: np.ndarray) -> bool:
    """Whether a colour is the mid grey that a filter leaves."""
    return bool(colour.min() >= 100 and colour.max() <= BRIGHTEST_SURROUND)


def textured(apart: np.ndarray) -> Iterator[np.ndarray]:
    """Yield masks of the pixels amid texture, each of a higher bar (float32 to bool)."""
    texture = cv2.boxFilter(apart, -1, (7, 7))
    for bar in _TEXTURES:
        yield texture > bar


def fills_the_picture(small: np.ndarray, corners: np.ndarray) -> bool:
    """Whether a filtered retina was cropped so closely that only the rim's ring is left in corners.

    Such a copy is flat when it is blurred, has fine structure that is no noise, and all of its
    corners differ from its middle grey. Our construction.

    Parameters
    ----------
    small : numpy.ndarray
        uint8, H x W x 3, RGB.
    corners : numpy.ndarray
        4 x 3: the colours of the corners.
    """
    middle = np.median(small.reshape(-1, 3), axis=0)
    if not is_grey(middle) or (np.abs(corners - middle).max(axis=1) < _RING).any():
        return False
    picture = small.astype(np.float32)
    broad = cv2.GaussianBlur(picture, (0, 0), max(small.shape[:2]) / 8)
    if broad.reshape(-1, 3).std(axis=0).max() > _FLAT:
        return False
    fine = (picture - broad).mean(axis=2)
    low, high = _CONTRAST
    if not low <= fine.std() <= high:
        return False
    across = np.corrcoef(fine[:, 1:].ravel(), fine[:, :-1].ravel())[0, 1]
    return bool(across >= _SMOOTH)
