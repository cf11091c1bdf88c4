"""Where a slide holds tissue: optical density against the glass, Otsu between fixed bounds."""

import cv2
import numpy as np
from pydantic import Field

from offsite.preprocessing.slides.density import optical_density
from offsite.settings import Settings

FALLBACK_WHITE = (243.0, 243.0, 243.0)
_SAMPLE_PX = 500_000


class TissueSettings(Settings):
    """How tissue is told from glass."""

    mpp: float = Field(default=4.0, gt=0, description="Scale of the mask, um per px.")
    max_px: int = Field(
        default=5_000_000, ge=10_000, description="Largest mask; bigger slides get a coarser one."
    )
    smoothing_um: float = Field(default=4.0, ge=0, description="Gaussian smoothing, um (sd).")
    density_floor: float = Field(
        default=0.06, gt=0, description="Optical density below which nothing is tissue."
    )
    density_ceiling: float = Field(
        default=0.14, gt=0, description="Optical density above which everything is."
    )
    smallest_um2: float = Field(default=800.0, ge=0, description="Smaller pieces are dust, um².")
    hole_um2: float = Field(default=3000.0, ge=0, description="Smaller holes are filled, um².")


def white_point(pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Grey values (R, G, B; float64) of the empty glass: the peak of the bright, greyish pixels.

    Where less than 0.5 % of the pixels can be glass, ``FALLBACK_WHITE``.
    """
    rows = max(int((pixels.shape[0] * pixels.shape[1] / _SAMPLE_PX) ** 0.5), 1)
    flat = pixels[::rows, ::rows].reshape(-1, 3)
    if valid is not None:
        flat = flat[valid[::rows, ::rows].ravel()]
    darkest, brightest = channel_min(flat), channel_max(flat)
    glass = flat[(darkest >= 180) & (brightest - darkest <= 24)]
    if len(glass) < max(0.005 * len(flat), 16):
        return np.array(FALLBACK_WHITE)
    peaks = []
    for channel in range(3):
        counts = np.bincount(glass[:, channel], minlength=256).astype(float)
        peaks.append(float(np.argmax(np.convolve(counts, np.ones(5), mode="same"))))
    return np.array(peaks)


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


def tissue_mask(
    pixels: np.ndarray,
    valid: np.ndarray | None,
    mpp: float,
    settings: TissueSettings,
    white: np.ndarray | None = None,
) -> np.ndarray:
    """Tissue of an overview (bool, H x W).

    The density is the largest of the three channels, smoothed; Otsu's threshold (1979) is held
    between ``density_floor`` and ``density_ceiling``, so that empty glass yields no tissue and
    dark tissue does not hide the pale.
    """
    if white is None:
        white = white_point(pixels, valid)
    density = channel_max(optical_density(pixels, white))
    if settings.smoothing_um:
        density = cv2.GaussianBlur(density, (0, 0), max(settings.smoothing_um / mpp, 0.1))
    inside = density if valid is None else density[valid]
    threshold = np.clip(_otsu(inside), settings.density_floor, settings.density_ceiling)
    mask = density > threshold
    if valid is not None:
        mask &= valid
    mask = without_small(mask, settings.smallest_um2 / mpp**2)
    mask = ~without_small(~mask, settings.hole_um2 / mpp**2)
    return mask if valid is None else mask & valid


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
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    large = statistics[:, cv2.CC_STAT_AREA] >= area_px
    large[0] = False
    return large[labels]


def _otsu(values: np.ndarray) -> float:
    """Otsu's threshold of optical densities (256 bins between 0 and 1)."""
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=256, range=(0, 1))
    if not counts.sum():
        return 0.0
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = total / below - (total[-1] - total) / above
    between = np.where((below > 0) & (above > 0), below * above * gap**2, 0)
    return float(centres[int(np.argmax(between))])
