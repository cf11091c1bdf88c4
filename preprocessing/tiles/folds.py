"""Tissue that lies double: judged against the tissue around it, not against the slide.

A fold is the tissue around it twice: denser by half or more, outside of what that tissue shows by
itself, and of the same hue. Dark epithelium beside pale stroma has another hue; a cellular tumour
is as dense as its neighbourhood; crowded glands vary so much that nothing stands out. Where
several layers lie on each other, every channel is saturated (our construction).
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from offsite.preprocessing.slides.density import Planes, densities_at, smallest
from offsite.preprocessing.tiles.pieces import pieces_with, widened, without_small
from offsite.preprocessing.tiles.quality import QualitySettings

AROUND_UM = 400.0
_PALEST = 0.04
_LIKE_HUE, _SAME_HUE = 0.985, 0.992
_SHIFT, _BLUER, _LITTLE = 0.05, 0.03, 0.08
_KNOWN = 0.12
_BEYOND = (1.5, 2.5)
_SATURATED, _NEARLY = (0.38, 2.0), (0.2, 1.45)
_BINS = np.exp(np.linspace(np.log(_PALEST), np.log(1.6), 33)).astype(np.float32)


def fold_mask(
    density: Planes, tissue: np.ndarray, settings: QualitySettings, *, mpp: float
) -> np.ndarray:
    """Folds (bool, H x W) of softened optical density (`density_planes`).

    Clear folds grow into what may be fold: where the density lies beyond the neighbourhood's
    median by 2.5 (1.5) times the distance from there to its ninth decile, and is ``fold_density``
    (half as much) times the median; or where the most transparent channel is saturated: above
    0.38 (0.2), and 2 (1.45) times the slide's third quartile.

    Parameters
    ----------
    tissue : numpy.ndarray
        H x W, bool, without ink and fat.
    """
    if not tissue.any():
        return np.zeros_like(tissue)
    where = np.flatnonzero(tissue)
    flat = densities_at(density, where)
    total = (flat[0] + flat[1] + flat[2]) / 3
    around = _around(density, tissue, mpp)
    median, decile, *hue = (_at(values, where, tissue.shape) for values in around)
    alike, same = _of_hue(flat, hue)
    ratio = total / median
    beyond = (total - median) / np.maximum(decile - median, 0.05 * median)
    lowest = smallest(flat)
    usual = float(np.percentile(lowest[::7], 75))
    factor = settings.fold_density
    rules = (
        (
            same & (beyond > _BEYOND[1]) & (ratio > factor),
            same & (beyond > _BEYOND[0]) & (ratio > (1 + factor) / 2),
        ),
        (
            lowest > max(_SATURATED[0], _SATURATED[1] * usual),
            same & (alike > _SAME_HUE) & (lowest > max(_NEARLY[0], _NEARLY[1] * usual)),
        ),
    )
    least = settings.fold_smallest_um2 / mpp**2
    fold = np.zeros_like(tissue)
    for clear, perhaps in rules:
        if not clear.any():
            continue
        seed, may_be = np.zeros_like(tissue), np.zeros_like(tissue)
        seed.ravel()[where], may_be.ravel()[where] = clear, clear | perhaps
        seed = without_small(seed, 0.4 * least)
        fold |= without_small(pieces_with(seed, may_be), least)
    return tissue & widened(fold, round(4 / mpp))  # the soft rim


def _of_hue(flat: Sequence[np.ndarray], hue: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of a colour to the neighbourhood's, and whether it is the same hue (R, G, B each)."""
    length = np.sqrt(_product(flat, flat) * _product(hue, hue))
    alike = _product(flat, hue) / np.maximum(length, 1e-6)
    sums = [np.maximum(one[0] + one[1] + one[2], 1e-6) for one in (flat, hue)]
    usual_red = hue[0] / sums[1]
    redder = flat[0] / sums[0] - usual_red
    # Where eosin alone stains, red is the last channel that is not saturated: its share may rise.
    bound = np.maximum(_SHIFT, 0.14 - usual_red)
    same = (alike > _LIKE_HUE) & (redder > -_SHIFT) & (redder < bound)
    same |= (alike > _SAME_HUE) & (np.abs(redder) < _LITTLE)
    same &= flat[2] / sums[0] - hue[2] / sums[1] < _BLUER  # brown stain absorbs blue
    return alike, same


def _product(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """Scalar products of colours."""
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2])


def _around(density: Planes, tissue: np.ndarray, mpp: float) -> tuple[np.ndarray, ...]:
    """Median, ninth decile and hue (R, G, B) of the tissue within ``AROUND_UM``, on a coarse grid."""
    step = max(round(AROUND_UM / 8 / mpp), 1)
    start = min(step // 2, tissue.shape[0] - 1, tissue.shape[1] - 1)
    part = np.s_[start::step, start::step]
    colours = [np.maximum(plane[part], 0) for plane in density]
    coarse = (colours[0] + colours[1] + colours[2]) / 3
    counted = tissue[part] & (coarse > _PALEST)
    side = 2 * max(round(AROUND_UM / (mpp * step)), 2) + 1
    number = _sums(counted, side)
    median, decile = _quantiles(coarse, counted, number, side, (0.5, 0.9))
    usual = counted & (coarse <= 1.3 * median)
    hue = (_sums(plane * usual, side) for plane in colours)
    unknown = number < _KNOWN * side * side
    median[unknown] = decile[unknown] = 9.0
    return median, decile, *hue


def _quantiles(
    values: np.ndarray,
    counted: np.ndarray,
    number: np.ndarray,
    side: int,
    shares: tuple[float, ...],
) -> list[np.ndarray]:
    """Quantiles over a window round every point, from box sums of a histogram of 32 bins."""
    found = [np.full(values.shape, _BINS[-1], np.float32) for _ in shares]
    open_ = [np.ones(values.shape, bool) for _ in shares]
    before = np.zeros_like(number)
    for low, high in pairwise(_BINS):
        below = _sums(counted & (values < high), side)
        for quantile, still, share in zip(found, open_, shares, strict=True):
            here = still & (below >= share * number)
            part = (share * number - before) / np.maximum(below - before, 1e-6)
            quantile[here] = (low + np.clip(part, 0, 1) * (high - low))[here]
            still &= ~here
        before = below
    return found


def _sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over a square window."""
    return cv2.boxFilter(
        values.astype(np.float32), -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
    )


def _at(values: np.ndarray, where: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A coarse grid at the flat positions of the full one."""
    return np.take(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR).ravel(), where)
