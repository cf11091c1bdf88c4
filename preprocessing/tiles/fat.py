"""Fat: thin membranes about empty cells, which a threshold sees as glass."""

import cv2
import numpy as np

from offsite.preprocessing.tiles.pieces import without_small

_GRID_UM = 16.0
_MEMBRANE_UM = 14.0
_WINDOW_UM = 240.0
_LEAST, _MOST = 0.03, 0.45
_DENSEST = 0.017
_STRIP_UM = 280.0
_SMALLEST_UM2 = 60_000.0


def fat_mask(
    faint: np.ndarray, density: np.ndarray, tissue: np.ndarray, usable: np.ndarray, mpp: float
) -> np.ndarray:
    """Fat outside ``tissue`` (bool, H x W): glass crossed by membranes (our construction).

    What is wider than a membrane (28 um), or ink, is left out; of the rest, membranes cover between
    3 and 45 % of a window of 240 um, and its mean optical density is below 0.017. More is lung or
    loose stroma, less is glass. Strips narrower
    than 280 um are the rims of other things.

    Parameters
    ----------
    faint : numpy.ndarray
        Coloured matter that only just stands out from the glass.
    density : numpy.ndarray
        Largest optical density of the channels, H x W.
    usable : numpy.ndarray
        Where the slide holds data, without ink.
    """
    shape = tissue.shape
    radius = max(round(_MEMBRANE_UM / mpp), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    wide = cv2.morphologyEx(tissue.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    solid = cv2.dilate((wide | ~usable).astype(np.uint8), disc)  # and its soft rim
    step = max(round(_GRID_UM / mpp), 1)
    grid = (max(shape[1] // step, 1), max(shape[0] // step, 1))
    free = cv2.resize((1 - solid) * np.uint8(255), grid, interpolation=cv2.INTER_AREA)
    thin = np.where(solid > 0, 0, faint).astype(np.uint8) * np.uint8(255)
    lines = cv2.resize(thin, grid, interpolation=cv2.INTER_AREA)
    px = step * mpp
    window = (2 * max(round(_WINDOW_UM / 2 / px), 1) + 1,) * 2
    room = cv2.blur(free.astype(np.float32), window)
    share = cv2.blur(lines.astype(np.float32), window) / np.maximum(room, 1.0)
    thick = cv2.resize(np.where(solid > 0, 0, density), grid, interpolation=cv2.INTER_AREA)
    mean = cv2.blur(thick, window) / np.maximum(room / 255, 1e-3)
    meshes = (share > _LEAST) & (share < _MOST) & (mean < _DENSEST) & (room > 50)
    strip = cv2.getStructuringElement(
        cv2.MORPH_ELLIPSE, (2 * max(round(_STRIP_UM / 2 / px), 1) + 1,) * 2
    )
    opened = cv2.morphologyEx(meshes.astype(np.uint8), cv2.MORPH_OPEN, strip)
    meshes = without_small(opened > 0, _SMALLEST_UM2 / px**2)
    found = cv2.resize(meshes.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return found & ~tissue & usable
