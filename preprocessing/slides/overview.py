"""A whole slide at a coarse scale, read in blocks so that memory stays bounded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offsite.children import clock
from offsite.preprocessing.slides.damage import (
    Patience,
    coarser_levels,
    finer_levels,
    read_part,
)
from offsite.preprocessing.slides.geometry import choose_level
from offsite.preprocessing.slides.opening import Slide, open_slide
from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.views import VIEW_PX, shrunk

_BLOCK_PX = 2048


@dataclass(frozen=True)
class Overview:
    """A slide at a coarse scale.

    Attributes
    ----------
    pixels : numpy.ndarray
        H x W x 3, uint8, RGB; white where there is no data.
    valid : numpy.ndarray
        H x W, bool: where the slide holds data that can be decoded.
    damaged : numpy.ndarray
        H x W, bool: where no level can be decoded.
    step : float
        Level-0 px per px; the top left corners coincide.
    mpp : float
        um per px.
    decoded_from : tuple of int
        Levels that stood in where the one that was read is damaged.
    """

    pixels: np.ndarray
    valid: np.ndarray
    damaged: np.ndarray
    step: float
    mpp: float
    decoded_from: tuple[int, ...] = ()


def read_overview(slide: Slide, *, mpp: float, max_px: int) -> Overview:
    """Read the slide area-averaged to about ``mpp`` um per px, or coarser to hold to ``max_px``.

    The scale depends on the slide alone, never on the memory that happens to be free.
    """
    width, height = slide.dimensions
    bound = slide.mpp * (width * height / max_px) ** 0.5
    wanted = max(mpp, bound, slide.mpp)
    level = choose_level(slide.mpp, slide.level_downsamples, wanted)
    level_mpp = slide.mpp * slide.level_downsamples[level]
    factor = max(int(np.ceil(bound / level_mpp)), round(wanted / level_mpp), 1)
    columns, rows = (max(side // factor, 1) for side in slide.level_dimensions[level])
    pixels = np.full((rows, columns, 3), 255, np.uint8)
    valid = np.zeros((rows, columns), bool)
    damaged = np.zeros((rows, columns), bool)
    others = (*finer_levels(slide, level), *coarser_levels(slide, level))
    stood_in: frozenset[int] = frozenset()
    patience = Patience()
    block = max(_BLOCK_PX // factor, 1)
    for top in range(0, rows, block):
        for left in range(0, columns, block):
            clock.tick()
            part = np.s_[top : min(top + block, rows), left : min(left + block, columns)]
            shape = pixels[part].shape[:2]
            seen = read_part(
                slide, left * factor, top * factor, level, shape[1] * factor, shape[0] * factor,
                others=others, patience=patience,
            )  # fmt: skip
            stood_in |= seen.decoded_from
            size = (shape[1], shape[0])
            pixels[part] = area_reduced(seen.pixels, size)
            if seen.damaged is not None:
                damaged[part] = area_reduced(seen.damaged.astype(np.uint8) * 255, size) > 0
            if seen.valid is None:
                valid[part] = True
            else:
                share = area_reduced(seen.valid.astype(np.uint8) * 255, size)
                valid[part] = (share > 127) & ~damaged[part]
    step = factor * slide.level_downsamples[level]
    return Overview(pixels, valid, damaged, step, slide.mpp * step, tuple(sorted(stood_in)))


def slide_view(path: Path, mpp: float | None = None) -> np.ndarray:
    """Return the whole slide as a picture (H x W x 3, uint8).

    ``mpp`` is um per px, instead of what the file says.
    """
    with open_slide(path, mpp=mpp) as slide:
        coarse = slide.mpp * max(slide.dimensions) / VIEW_PX
        overview = read_overview(slide, mpp=coarse, max_px=VIEW_PX * VIEW_PX)
        return shrunk(overview.pixels)
