"""What a picture of a slide shows, px by px: glass, tissue, fat, ink, folds."""

from dataclasses import dataclass

import numpy as np

from offsite.preprocessing.slides.density import density_planes
from offsite.preprocessing.tiles.fat import fat_mask
from offsite.preprocessing.tiles.folds import fold_mask
from offsite.preprocessing.tiles.ink import pen_mask
from offsite.preprocessing.tiles.quality import QualitySettings
from offsite.preprocessing.tiles.tissue import (
    TissueSettings,
    coloured,
    softened,
    tissue_mask,
    white_point,
)


@dataclass(frozen=True)
class Masks:
    """What a picture shows (bool, H x W each), and the glass's grey values.

    Attributes
    ----------
    tissue : numpy.ndarray
        Ink left out; fat with it where the settings say so.
    fat : numpy.ndarray
        Fat with its empty cells, but for what is tissue without it.
    pen, fold : numpy.ndarray
    white : numpy.ndarray
        R, G, B of the empty glass.
    """

    tissue: np.ndarray
    fat: np.ndarray
    pen: np.ndarray
    fold: np.ndarray
    white: np.ndarray


def masks_of(
    pixels: np.ndarray,
    valid: np.ndarray | None,
    mpp: float,
    tissue: TissueSettings,
    quality: QualitySettings,
) -> Masks:
    """Judge a picture (H x W x 3, uint8) of ``mpp`` um per px; ``valid`` says where it has data.

    Examples
    --------
    >>> glass = np.full((60, 60, 3), 240, np.uint8)
    >>> glass[20:40, 20:40] = (225, 150, 190)
    >>> found = masks_of(glass, None, 4.0, TissueSettings(), QualitySettings())
    >>> int(found.tissue.sum()), bool(found.pen.any()), bool(found.fold.any())
    (400, False, False)
    """
    white = white_point(pixels, valid)
    hues = density_planes(softened(pixels, mpp), white)
    pen = pen_mask(hues, quality, mpp=mpp)
    usable = ~pen if valid is None else ~pen & valid
    evidence = coloured(pixels, hues, mpp, tissue, white).within(usable)
    found = tissue_mask(evidence, mpp, tissue) & usable
    fat = fat_mask(evidence.faint, evidence.density, found, usable, mpp)
    fold = fold_mask(hues, found, quality, mpp=mpp)
    if tissue.fat:
        found = found | fat
    return Masks(found, fat, pen, fold, white)
