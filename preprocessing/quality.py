"""What a tile shows besides tissue: pen, folds, dark matter, blur, empty glass.

Colours are judged by optical density against the glass, so that a grey or yellow lamp does not
matter. Haematoxylin and eosin both absorb green light most; inks do not (our construction, with
thresholds chosen on real marked slides).
"""

import cv2
import numpy as np
from pydantic import Field

from preprocessing.settings import Settings
from preprocessing.tissue import optical_density, without_small


class QualitySettings(Settings):
    """Thresholds on what makes a tile unfit."""

    ink_density: float = Field(
        default=0.3, gt=0, description="Optical density above which a foreign hue is ink."
    )
    pen_smallest_um2: float = Field(
        default=1500.0, ge=0, description="Smaller inked pieces are ignored, um²."
    )
    pen_reach_um: float = Field(
        default=80.0, ge=0, description="How far faint ink may reach from clear ink, um."
    )
    max_pen: float = Field(default=0.1, ge=0, le=1, description="Largest share under ink.")


def pen_mask(
    pixels: np.ndarray, white: np.ndarray, settings: QualitySettings, *, mpp: float
) -> np.ndarray:
    """Ink of an overview (bool, H x W): green, blue, red or black marker.

    Green ink lets green light through, which no H&E does; blue ink absorbs red far more than
    green; red ink absorbs blue nearly as much as green and hardly any red; black ink absorbs all
    three alike, where dark nuclei spare the blue. What is clearly ink grows into what may be ink,
    ``pen_reach_um`` at most.
    """
    smooth = cv2.GaussianBlur(pixels, (0, 0), max(4.0 / mpp, 0.8))
    density = optical_density(smooth, white)
    found = np.zeros(pixels.shape[:2], bool)
    for strict, loose in _inks(density, settings.ink_density):
        seed = without_small(strict, settings.pen_smallest_um2 / mpp**2)
        found |= _grown(seed, loose, max(round(settings.pen_reach_um / mpp), 4))
    return found


def _inks(density: np.ndarray, least: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per ink: what is clearly its hue, and what may be."""
    red, green, blue = np.moveaxis(density, -1, 0)
    top, low = density.max(axis=-1), density.min(axis=-1)
    pinkish = (blue > 0.68 * green) & (blue < 0.9 * green)  # blood is more orange
    return [
        (
            (red > least) & (red - green > 0.5 * least) & (blue > green - 0.25 * red),
            (red > 0.3 * least) & (red > 1.1 * green) & (blue > green - 0.25 * red),
        ),
        (
            (red > 1.2 * least) & (red > 1.35 * green) & (red > 1.8 * blue),
            (red > 0.4 * least) & (red > 1.15 * green) & (red > 1.4 * blue),
        ),
        (
            (red < 0.3 * green)
            & (pinkish & (blue - red > 1.2 * least) | (blue - red > 2.5 * least)),
            (red < 0.35 * green) & (blue - red > 0.7 * least) & (blue > 0.62 * green),
        ),
        (
            (low > 1.4 * least) & (low > 0.62 * top),
            (low > 0.9 * least) & (low > 0.55 * top),
        ),
    ]


def _grown(seed: np.ndarray, within: np.ndarray, steps: int) -> np.ndarray:
    """Dilate ``seed`` inside ``within`` (geodesic), ``steps`` px at most."""
    if not seed.any():
        return seed
    current, limit = seed.astype(np.uint8), (within | seed).astype(np.uint8)
    for _ in range(steps):
        larger = cv2.min(cv2.dilate(current, np.ones((3, 3), np.uint8)), limit)
        if np.array_equal(larger, current):
            break
        current = larger
    return current.astype(bool)
