"""Stained matter on glass, drawn by optical density: what real slides showed and biology draws not."""

import cv2
import numpy as np

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.60, 0.28])
DAB = np.array([0.27, 0.57, 0.78])
SIDE = 300
"""Side of a picture, px of 4 um."""


def texture(seed: int, sigma: float, spread: float) -> np.ndarray:
    """A factor that varies about 1 from place to place."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.clip(1 + spread * smooth / smooth.std(), 0, None)


def layer(where: np.ndarray, amount: float, stain: np.ndarray, seed: int = 0) -> np.ndarray:
    """Optical density of stained tissue (H x W x 3): ``amount`` of a stain, uneven by a fifth."""
    uneven = 0.5 * texture(seed, 1.0, 0.2) + 0.5 * texture(seed + 1, 6.0, 0.1)
    return (where * amount * uneven)[..., None] * stain


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """A disc (bool), centre and radius in px."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) < radius


def picture(density: np.ndarray, white: float = 243.0, noise: float = 1.0) -> np.ndarray:
    """What a scanner sees of it (uint8), a little blurred and noisy."""
    light = white * 10 ** -cv2.GaussianBlur(density.astype(np.float32), (0, 0), 0.6)
    light += np.random.default_rng(7).normal(0, noise, light.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def empty() -> np.ndarray:
    """Nothing on the glass."""
    return np.zeros((SIDE, SIDE, 3))
