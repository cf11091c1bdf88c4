"""Connected pieces of a mask: dropped by area, kept by what they touch."""

import cv2
import numpy as np


def without_small(mask: np.ndarray, area_px: float) -> np.ndarray:
    """Drop 8-connected pieces smaller than ``area_px``.

    Examples
    --------
    >>> mask = np.zeros((6, 6), bool)
    >>> mask[0, 0] = mask[2:5, 2:5] = True
    >>> int(without_small(mask, area_px=4).sum())
    9
    """
    if area_px <= 1 or not mask.any():
        return mask
    _, labels, facts, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        mask.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_GRANA
    )
    large = facts[:, cv2.CC_STAT_AREA] >= area_px
    large[0] = False
    return np.take(large, np.asarray(labels, np.int32))


def pieces_with(seed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 8-connected pieces of ``mask`` that hold a pixel of ``seed`` (hysteresis).

    Examples
    --------
    >>> mask = np.array([[1, 1, 0, 1]], bool)
    >>> pieces_with(np.array([[0, 1, 0, 0]], bool), mask).astype(int).tolist()
    [[1, 1, 0, 0]]
    """
    if not seed.any():
        return np.zeros_like(mask)
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    held = np.zeros(count, bool)
    held[labels[seed & mask]] = True
    where = np.flatnonzero(mask)
    kept = np.zeros_like(mask)
    kept.ravel()[where] = held[labels.ravel()[where]]
    return kept


def grown(seed: np.ndarray, within: np.ndarray, reach_px: float) -> np.ndarray:
    """``seed`` and what of ``within`` hangs on to it, no farther from it than ``reach_px``."""
    if not seed.any():
        return seed
    distance = cv2.distanceTransform((~seed).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    return pieces_with(seed, seed | (within & (distance <= reach_px)))


def widened(mask: np.ndarray, radius_px: int) -> np.ndarray:
    """Dilate by a disc."""
    if radius_px < 1 or not mask.any():
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), disc) > 0
