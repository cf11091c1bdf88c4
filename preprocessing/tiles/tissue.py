"""Where a slide holds tissue: what is coloured and denser than the noise of the glass."""

from typing import NamedTuple

import cv2
import numpy as np
from pydantic import Field

from offsite.preprocessing.slides.density import (
    Planes,
    channel_max,
    channel_min,
    density_planes,
    largest,
    smallest,
)
from offsite.preprocessing.tiles.pieces import pieces_with, without_small
from offsite.settings import Settings

FALLBACK_WHITE = (243.0, 243.0, 243.0)
SOFT_UM = 4.0
"""Over so many um (standard deviation) colours are averaged where single nuclei must not count."""

_SAMPLE_PX = 500_000
_NEUTRAL, _VOTE_UM = 0.15, 40.0
_NOISE = 5.0
_EDGE_UM = 8.0


class TissueSettings(Settings):
    """How tissue is told from glass."""

    mpp: float = Field(default=4.0, gt=0, description="Scale of the mask, um per px.")
    max_px: int = Field(
        default=5_000_000, ge=10_000, description="Largest mask; bigger slides get a coarser one."
    )
    smoothing_um: float = Field(default=2.0, ge=0, description="Gaussian smoothing, um (sd).")
    density_floor: float = Field(
        default=0.02, gt=0, description="Optical density below which nothing is tissue."
    )
    density_ceiling: float = Field(
        default=0.05,
        gt=0,
        description="Optical density above which coloured matter is tissue, however noisy the glass.",
    )
    clear_density: float = Field(
        default=0.04, ge=0, description="Optical density that a piece of tissue reaches somewhere."
    )
    clear_colour: float = Field(
        default=0.02,
        ge=0,
        description="Difference of the channels' optical densities that it reaches there.",
    )
    smallest_um2: float = Field(default=800.0, ge=0, description="Smaller pieces are dust, um².")
    hole_um2: float = Field(default=3000.0, ge=0, description="Smaller holes are filled, um².")
    fat: bool = Field(
        default=False,
        description="Count fat, its empty cells included, as tissue. It is measured either way.",
    )


def white_point(pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Grey values (R, G, B; float64) of the empty glass: the peak of the bright, greyish pixels.

    Where less than 0.5 % of the pixels can be glass, ``FALLBACK_WHITE``.
    """
    step = max(int((pixels.shape[0] * pixels.shape[1] / _SAMPLE_PX) ** 0.5), 1)
    sample = np.ascontiguousarray(pixels[::step, ::step])
    darkest, brightest = channel_min(sample), channel_max(sample)
    glass = (darkest >= 180) & (brightest - darkest <= 24)
    known = glass.size
    if valid is not None:
        glass &= valid[::step, ::step]
        known = np.count_nonzero(valid[::step, ::step])
    if np.count_nonzero(glass) < max(0.005 * known, 16):
        return np.array(FALLBACK_WHITE)
    peaks = []
    for channel in range(3):
        counts = cv2.calcHist([sample], [channel], glass.view(np.uint8), [256], [0, 256])
        counts = counts.ravel().astype(float)
        peaks.append(float(np.argmax(np.convolve(counts, np.ones(5), mode="same"))))
    return np.array(peaks)


def softened(pixels: np.ndarray, mpp: float) -> np.ndarray:
    """The picture averaged over ``SOFT_UM`` (uint8)."""
    return cv2.GaussianBlur(pixels, (0, 0), max(SOFT_UM / mpp, 0.6))


class Coloured(NamedTuple):
    """Coloured matter on the glass (bool, H x W each), each within the one before.

    ``faint`` is what only just stands out, as the membranes of fat do; ``possible`` may be tissue;
    ``clear`` is. ``density`` is the largest of the channels' (float32, H x W).
    """

    faint: np.ndarray
    possible: np.ndarray
    clear: np.ndarray
    density: np.ndarray

    def within(self, usable: np.ndarray) -> "Coloured":
        """The same where ``usable``."""
        return Coloured(
            self.faint & usable, self.possible & usable, self.clear & usable, self.density
        )


def coloured(
    pixels: np.ndarray,
    hues: Planes,
    mpp: float,
    settings: TissueSettings,
    white: np.ndarray,
) -> Coloured:
    """What on the glass may be tissue.

    Denser than the glass by five times its noise, a threshold counted from the glass
    outward: dark tissue, ink or a black edge cannot move it. Grey matter, which
    absorbs all colours alike (edges, shadows, dust, bubbles' rims), is none, however dark: of what
    is dense within 40 um, at least half has to have a hue.

    Parameters
    ----------
    hues : tuple of numpy.ndarray
        ``density_planes`` of ``softened`` pixels: of single px the hue of pale tissue cannot be told.
    """
    fine = pixels
    if settings.smoothing_um >= 0.3 * mpp:
        fine = cv2.GaussianBlur(pixels, (0, 0), settings.smoothing_um / mpp)
    density = largest(density_planes(fine, white))
    top = largest(hues)
    spread = top - smallest(hues)
    threshold = _threshold(density, settings)
    dense = density > threshold
    hued = spread >= _NEUTRAL * top
    faint = (density > 0.5 * threshold) & hued
    possible = dense & (_shares(dense & hued, mpp) >= 0.5 * _shares(dense, mpp))
    clear = possible & (spread > settings.clear_colour) & (top > settings.clear_density)
    clear = without_small(clear, 0.5 * settings.smallest_um2 / mpp**2)
    return Coloured(faint, possible, clear, density)


def tissue_mask(found: Coloured, mpp: float, settings: TissueSettings) -> np.ndarray:
    """Tissue (bool, H x W): pieces of what may be tissue that clearly are so somewhere.

    Of the outermost px those go that are mostly glass, much less dense than what they border on;
    dust is dropped, small holes are filled.
    """
    mask = _without_glassy_rim(pieces_with(found.clear, found.possible), found.density, mpp)
    mask = without_small(mask, settings.smallest_um2 / mpp**2)
    return ~without_small(~mask, settings.hole_um2 / mpp**2)


def _without_glassy_rim(mask: np.ndarray, density: np.ndarray, mpp: float) -> np.ndarray:
    """Drop outermost px of solid pieces that are mostly glass.

    Walls no thicker than a few px, as the lung's, have nothing but outermost px: they stay.
    """
    if not mask.any():
        return mask
    square = np.ones((3, 3), np.uint8)
    deep = cv2.erode(mask.astype(np.uint8), square, iterations=2)
    beside = cv2.dilate(np.where(deep > 0, density, 0), square, iterations=3)
    for _ in range(2 if 2 * mpp <= _EDGE_UM else 1):
        inner = cv2.erode(mask.astype(np.uint8), square) > 0
        mask = mask & (inner | (density >= 0.3 * beside))
    return mask


def _shares(mask: np.ndarray, mpp: float) -> np.ndarray:
    """Share of a mask in a window of ``_VOTE_UM``."""
    side = 2 * max(round(0.5 * _VOTE_UM / mpp), 1) + 1
    return cv2.boxFilter(mask.astype(np.uint8), cv2.CV_32F, (side, side))


def _threshold(density: np.ndarray, settings: TissueSettings) -> float:
    """Density that the glass reaches by its noise alone, held between floor and ceiling.

    The noise is taken from what is brighter than the glass, for no tissue is.
    """
    brighter = density[::3, ::3]
    brighter = brighter[brighter < 0]
    floor, ceiling = settings.density_floor, max(settings.density_ceiling, settings.density_floor)
    if len(brighter) < 100:
        return floor
    return float(np.clip(-_NOISE * 1.4826 * float(np.median(brighter)), floor, ceiling))
