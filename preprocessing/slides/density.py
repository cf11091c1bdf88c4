"""Optical density: how much light the glass and what lies on it hold back."""

import cv2
import numpy as np


def density_table(white: np.ndarray) -> np.ndarray:
    """Optical density (base 10) of each grey value and channel: 1 x 256 x 3, float32."""
    values = np.maximum(np.arange(256, dtype=float), 1)[:, None]
    return np.ascontiguousarray(-np.log10(values / np.asarray(white)), dtype=np.float32)[None]


def optical_density(pixels: np.ndarray, white: np.ndarray) -> np.ndarray:
    """-log10 of the light that comes through, per channel (H x W x 3, float32, >= 0).

    Examples
    --------
    >>> grey = np.array([[[240, 120, 24]]], np.uint8)
    >>> optical_density(grey, np.array([240.0] * 3)).astype(float).round(2).tolist()
    [[[0.0, 0.3, 1.0]]]
    """
    return cv2.LUT(pixels, np.maximum(density_table(white), 0))


def signed_density(pixels: np.ndarray, white: np.ndarray) -> np.ndarray:
    """``optical_density``, but below 0 where a channel is brighter than the glass.

    Thin eosin lights red up a little; without the sign its colour would be lost.
    """
    return cv2.LUT(pixels, density_table(white))


def planes_at(values: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three channels of an image (H x W x 3) at flat positions, an array each.

    Arithmetic on three long arrays is many times faster than on many rows of three.

    Examples
    --------
    >>> [channel.tolist() for channel in planes_at(np.arange(12).reshape(2, 2, 3), np.array([0, 3]))]
    [[0, 9], [1, 10], [2, 11]]
    """
    first, second, third = (np.take(values[..., i].ravel(), where) for i in range(3))
    return first, second, third


def channel_max(values: np.ndarray) -> np.ndarray:
    """Largest of three channels; many times faster than a reduction over so short an axis.

    Examples
    --------
    >>> channel_max(np.array([[[1, 7, 3]]])).tolist()
    [[7]]
    """
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def channel_min(values: np.ndarray) -> np.ndarray:
    """Smallest of three channels."""
    return np.minimum(np.minimum(values[..., 0], values[..., 1]), values[..., 2])
