"""Optical density: how much light the glass and what lies on it hold back."""

import cv2
import numpy as np

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Red, green and blue, an array each."""


def density_table(white: np.ndarray) -> np.ndarray:
    """Optical density (base 10) of each grey value and channel: 1 x 256 x 3, float32."""
    values = np.maximum(np.arange(256, dtype=float), 1)[:, None]
    return np.ascontiguousarray(-np.log10(values / np.asarray(white)), dtype=np.float32)[None]


def density_planes(pixels: np.ndarray, white: np.ndarray) -> Planes:
    """Optical density as an array (H x W) per channel, below 0 where one is brighter than the glass.

    Thin eosin lights red up a little; without the sign its colour would be lost. Arithmetic on
    three whole arrays is many times faster than on many rows of three.

    Examples
    --------
    >>> grey = np.array([[[250, 120, 24]]], np.uint8)
    >>> [round(plane.item(), 2) for plane in density_planes(grey, np.array([240.0] * 3))]
    [-0.02, 0.3, 1.0]
    """
    table = density_table(white)
    red, green, blue = (
        cv2.LUT(plane, np.ascontiguousarray(table[..., channel]))
        for channel, plane in enumerate(cv2.split(pixels))
    )
    return red, green, blue


def densities_at(planes: Planes, where: np.ndarray) -> Planes:
    """The same three channels at flat positions (1-D, int), 0 where below."""
    red, green, blue = (np.maximum(np.take(plane.ravel(), where), 0) for plane in planes)
    return red, green, blue


def largest(planes: Planes) -> np.ndarray:
    """Largest of three channels."""
    found = np.maximum(planes[0], planes[1])
    return np.asarray(np.maximum(found, planes[2], out=found))


def smallest(planes: Planes) -> np.ndarray:
    """Smallest of three channels."""
    found = np.minimum(planes[0], planes[1])
    return np.asarray(np.minimum(found, planes[2], out=found))


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
