"""What a tile shows besides tissue: pen, folds, dark matter, blur, empty glass.

Colours are judged by optical density against the glass, so that a grey or yellow lamp does not
matter. Haematoxylin and eosin both absorb green light most; inks do not (our construction, with
thresholds chosen on real marked slides).
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from pydantic import Field

from offsite.preprocessing.slides.density import optical_density
from offsite.preprocessing.tiles.tissue import channel_max, channel_min, without_small
from offsite.settings import Settings


class QualitySettings(Settings):
    """Thresholds on what makes a tile unfit."""

    mpp: float = Field(
        default=2.0, gt=0.1, description="Fixed scale at which tiles are judged, um per px."
    )
    min_coverage: float = Field(
        default=0.99, ge=0, le=1, description="Least share of a tile that the slide has data for."
    )
    max_pen: float = Field(default=0.1, ge=0, le=1, description="Largest share under ink.")
    max_fold: float = Field(default=0.3, ge=0, le=1, description="Largest share in a fold.")
    max_dark: float = Field(
        default=0.3, ge=0, le=1, description="Largest share that lets no light through."
    )
    max_pale: float = Field(
        default=0.9, ge=0, le=1, description="Largest share as bright as the glass."
    )
    min_focus: float = Field(
        default=0.025, ge=0, description="Least focus; below it a tile is blurred. 0 turns it off."
    )
    ink_density: float = Field(
        default=0.3, gt=0, description="Optical density above which a foreign hue is ink."
    )
    pen_smallest_um2: float = Field(
        default=1500.0, ge=0, description="Smaller inked pieces are ignored, um²."
    )
    pen_reach_um: float = Field(
        default=150.0, ge=0, description="How far faint ink may reach from clear ink, um."
    )
    fold_density: float = Field(
        default=1.6, gt=1, description="A fold is denser than the slide's median by this factor."
    )
    fold_smallest_um2: float = Field(
        default=1500.0, ge=0, description="Smaller dense pieces are no folds, um²."
    )
    dark_density: float = Field(
        default=0.8, gt=0, description="Least optical density, in every channel, of dark matter."
    )
    pale_density: float = Field(
        default=0.05, gt=0, description="Largest optical density of empty glass."
    )


class TileQuality(NamedTuple):
    """What tiles show: an array each, a value per tile; shares 0..1."""

    dark: np.ndarray
    pale: np.ndarray
    focus: np.ndarray


def tile_quality(tiles: np.ndarray, white: np.ndarray, settings: QualitySettings) -> TileQuality:
    """Judge tiles that are at ``settings.mpp`` um per px (N x H x W x 3, uint8).

    ``focus`` is the standard deviation of the Laplacian of the red channel's optical density:
    the contrast of nuclei, whatever the lamp. Tissue without nuclei has little of it too.
    """
    count, height, width = tiles.shape[:3]
    density = optical_density(tiles.reshape(count * height, width, 3), white).reshape(tiles.shape)
    red = density[..., 0]
    laplacian = red[:, 2:, 1:-1] + red[:, :-2, 1:-1] + red[:, 1:-1, 2:] + red[:, 1:-1, :-2]
    laplacian -= 4 * red[:, 1:-1, 1:-1]
    return TileQuality(
        dark=(channel_min(density) > settings.dark_density).mean(axis=(1, 2)),
        pale=(channel_max(density) < settings.pale_density).mean(axis=(1, 2)),
        focus=laplacian.std(axis=(1, 2)) if min(height, width) > 2 else np.zeros(count),
    )


def fold_mask(
    pixels: np.ndarray,
    white: np.ndarray,
    tissue: np.ndarray,
    settings: QualitySettings,
    *,
    mpp: float,
) -> np.ndarray:
    """Tissue that lies double (bool, H x W): much denser than the slide's median tissue.

    ``tissue`` should leave out ink. Smoothed over 6 um, so that single nuclei do not count; the soft rim is added.
    """
    if not tissue.any():
        return np.zeros_like(tissue)
    density = cv2.transform(optical_density(pixels, white), np.full((1, 3), 1 / 3))
    density = cv2.GaussianBlur(density, (0, 0), max(6.0 / mpp, 0.5))
    dense = tissue & (density > settings.fold_density * np.median(density[tissue]))
    dense = without_small(dense, settings.fold_smallest_um2 / mpp**2).astype(np.uint8)
    rim = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(4 / mpp) + 1,) * 2)
    return tissue & (cv2.dilate(dense, rim) > 0)


def pen_mask(
    pixels: np.ndarray, white: np.ndarray, settings: QualitySettings, *, mpp: float
) -> np.ndarray:
    """Ink of an overview (bool, H x W): green, blue, red or black marker.

    Green ink lets green light through, which no H&E does; blue ink absorbs red far more than
    green; red ink absorbs blue nearly as much as green and hardly any red; black ink absorbs all
    three alike, where dark nuclei spare the blue. Ink over tissue adds to it, so the same is asked
    of the density above the median of what is not glass. What is clearly ink grows into what may
    be ink, ``pen_reach_um`` at most.
    """
    smooth = cv2.GaussianBlur(pixels, (0, 0), max(4.0 / mpp, 0.8))
    density = optical_density(smooth, white)
    dense = density[::2, ::2][channel_max(density[::2, ::2]) > 0.1]
    typical = np.median(dense, axis=0) if len(dense) else np.zeros(3, np.float32)
    ink = np.zeros(pixels.shape[:2], bool)
    for base in (np.zeros_like(typical), typical):
        above = np.maximum(density - base, 0) if base.any() else density
        for strict, loose in _inks(above, settings.ink_density):
            seed = without_small(strict, settings.pen_smallest_um2 / mpp**2)
            if not seed.any():
                continue
            inked = _grown(seed, loose, max(round(settings.pen_reach_um / mpp), 8))
            ink |= cv2.dilate(inked.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # soft rims
    return ink


def _inks(density: np.ndarray, least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per ink: what is clearly its hue, and what may be; one at a time, for memory's sake."""
    red, green, blue = (density[..., channel] for channel in range(3))
    yield (
        (red > least) & (red - green > 0.5 * least) & (blue > green - 0.25 * red),
        (red > 0.3 * least) & (red > 1.1 * green) & (blue > green - 0.25 * red),
    )
    yield (
        (red > 1.2 * least) & (red > 1.35 * green) & (red > 1.8 * blue),
        ((red > 0.4 * least) & (red > 1.15 * green) & (red > 1.4 * blue))
        | ((red > 1.7 * least) & (red > 0.85 * green) & (red > 1.6 * blue)),  # over tissue
    )
    pinkish = (blue > 0.68 * green) & (blue < 0.9 * green)  # blood is more orange
    yield (
        (red < 0.3 * green) & (pinkish & (blue - red > 1.2 * least) | (blue - red > 2.5 * least)),
        (red < 0.35 * green) & (blue - red > 0.7 * least) & (blue > 0.62 * green),
    )
    top, low = channel_max(density), channel_min(density)
    yield (
        (low > 1.4 * least) & (low > 0.62 * top),
        (low > 0.9 * least) & (low > 0.55 * top),
    )


def _grown(seed: np.ndarray, within: np.ndarray, steps: int) -> np.ndarray:
    """Dilate ``seed`` inside ``within`` (geodesic), ``steps`` px at most."""
    if not seed.any():
        return seed
    current: np.ndarray = seed.astype(np.uint8)
    limit = (within | seed).astype(np.uint8)
    for _ in range(steps):
        larger = cv2.min(cv2.dilate(current, np.ones((3, 3), np.uint8)), limit)
        if np.array_equal(larger, current):
            break
        current = larger
    return current.astype(bool)
