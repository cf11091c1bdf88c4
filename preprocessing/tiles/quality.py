"""What makes a tile unfit, and what a tile shows by itself: dark matter, blur, empty glass.

Colours are judged by optical density against the glass, so that a grey or yellow lamp does not
matter.
"""

from typing import NamedTuple

import cv2
import numpy as np
from pydantic import Field

from offsite.preprocessing.slides.density import density_table
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
        default=4000.0, ge=0, description="How far faint ink may reach from clear ink, um."
    )
    fold_density: float = Field(
        default=1.5, gt=1, description="A fold is denser than the tissue around it by this factor."
    )
    fold_smallest_um2: float = Field(
        default=1000.0, ge=0, description="Smaller dense pieces are no folds, um²."
    )
    dark_density: float = Field(
        default=0.8, gt=0, description="Least optical density, in every channel, of dark matter."
    )
    pale_density: float = Field(
        default=0.05, gt=0, description="Largest optical density of empty glass."
    )


_DARK, _PALE = 1, 2  # bits


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
    pixels = tiles.reshape(count * height, width, 3)
    table = np.maximum(density_table(white), 0)
    lit = _DARK * (table > settings.dark_density) + _PALE * (table < settings.pale_density)
    first, second, third = map(np.asarray, cv2.split(cv2.LUT(pixels, lit.astype(np.uint8))))
    every = np.bitwise_and(np.bitwise_and(first, second), third).reshape(count, height, width)
    red = cv2.LUT(cv2.extractChannel(pixels, 0), np.ascontiguousarray(table[..., 0]))
    red = red.reshape(count, height, width)
    laplacian = red[:, 2:, 1:-1] + red[:, :-2, 1:-1] + red[:, 1:-1, 2:] + red[:, 1:-1, :-2]
    laplacian -= 4 * red[:, 1:-1, 1:-1]
    return TileQuality(
        dark=((every & _DARK) > 0).mean(axis=(1, 2)),
        pale=((every & _PALE) > 0).mean(axis=(1, 2)),
        focus=laplacian.std(axis=(1, 2)) if min(height, width) > 2 else np.zeros(count),
    )
