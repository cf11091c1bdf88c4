"""Overviews of drawn tissue, and what is true of them."""

from dataclasses import replace

import cv2
import numpy as np

from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.synthetic.slides.biology import RASTER_UM, Biology
from offsite.preprocessing.synthetic.slides.rendering import Artefacts, render, sample_artefacts
from offsite.preprocessing.synthetic.slides.sites import SiteProfile
from offsite.preprocessing.tiles.masks import Masks, masks_of
from offsite.preprocessing.tiles.quality import QualitySettings
from offsite.preprocessing.tiles.tissue import TissueSettings

MPP = 4.0
TISSUE, QUALITY = TissueSettings(), QualitySettings()


def judged(pixels: np.ndarray, valid: np.ndarray | None = None, mpp: float = MPP) -> Masks:
    """The masks of a picture by the default settings."""
    return masks_of(np.ascontiguousarray(pixels), valid, mpp, TISSUE, QUALITY)


def overview_of(
    biology: Biology, profile: SiteProfile, artefacts: Artefacts | None = None, seed: int = 1
) -> np.ndarray:
    """Drawn tissue at ``MPP``."""
    image = render(biology, profile, seed=seed, artefacts=artefacts, mpp=1.0)
    return area_reduced(image, (image.shape[1] // 4, image.shape[0] // 4))


def coarse(mask: np.ndarray) -> np.ndarray:
    """A truth mask at the scale of the overview."""
    scale = RASTER_UM / MPP
    values = mask.astype(np.float32)
    return cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) > 0.5


def artefacts_of(biology: Biology, profile: SiteProfile, colour: str | None = None) -> Artefacts:
    """Pen, fold and blur on a slide; all strokes of one colour, if it is given."""
    rates = {"pen_rate": 1.0, "fold_rate": 1.0, "blur_rate": 1.0}
    found = sample_artefacts(np.random.default_rng(5), biology, profile.model_copy(update=rates))
    if colour is None:
        return found
    return replace(found, pen=tuple((colour, points, width) for _, points, width in found.pen))
