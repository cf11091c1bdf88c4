"""Altered copies of a picture, as another camera, operator or copy would have given it.

For heads on frozen features: the copies are read once and enter the fit beside the original, so the
head learns which numbers move while the tissue stays. The same picture and number give the same copy.
Our construction.
"""

import cv2
import numpy as np

VERSION = 1
"""Goes up when the same picture would give another copy."""


def altered(picture: np.ndarray, copy: int, key: int) -> np.ndarray:
    """Return a copy of a picture (uint8, H x W x 3, RGB).

    Parameters
    ----------
    picture : numpy.ndarray
        The original.
    copy : int
        0: the original; 1: its mirror image; from 2 on: mirrored at random, at another resolution
        or sharpness, with another contrast and colour balance, and through JPEG.
    key : int
        Of the picture; with ``copy`` it decides every random number.

    Examples
    --------
    >>> picture = np.arange(12, dtype=np.uint8).reshape(1, 4, 3)
    >>> altered(picture, 1, key=0)[0, :, 0].tolist()
    [9, 6, 3, 0]
    """
    if copy == 0:
        return picture
    if copy == 1:
        return np.ascontiguousarray(picture[:, ::-1])
    draw = np.random.default_rng([key, copy])
    changed = picture.astype(np.float32)
    changed = changed[:, ::-1] if draw.random() < 0.5 else changed
    changed = np.ascontiguousarray(changed[::-1] if draw.random() < 0.5 else changed)
    return redrawn(changed, draw)


def redrawn(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return a picture (H x W x 3, 0..255) as another camera would have drawn it, unturned (uint8)."""
    changed = _balanced(_resolved(picture.astype(np.float32), draw), draw)
    if draw.random() < 0.4:
        return _through_jpeg(changed, int(draw.integers(30, 90)))
    return _bytes(changed)


def _resolved(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Coarser (four in ten), sharper (three in ten), or as it is."""
    chance = draw.random()
    height, width = picture.shape[:2]
    if chance < 0.4:
        share = draw.uniform(0.5, 1)
        small = (max(round(width * share), 1), max(round(height * share), 1))
        coarse = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    if chance < 0.7:
        smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
        return picture + np.float32(draw.uniform(0.2, 1.0)) * (picture - smooth)
    return picture


def _balanced(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Another contrast about the mean, gain and offset of each colour, at times paler."""
    mean = picture.mean()
    gain = draw.uniform(0.7, 1.4) * draw.uniform(0.75, 1.33, 3)
    changed = (picture - mean) * gain.astype(np.float32) + mean
    changed += draw.uniform(-8, 8, 3).astype(np.float32)
    if draw.random() < 0.3:
        share = np.float32(draw.uniform(0, 0.6))
        changed += share * (changed.mean(axis=2, keepdims=True) - changed)
    return np.asarray(changed, np.float32)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    done, data = cv2.imencode(".jpg", _bytes(picture), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
