"""The embedded BASELINE encoder: measurements of structure by fixed filters, no learned weights.

It measures how large, how dense and how arranged the nuclei of a tile are, on a haematoxylin
density that is normalised within the tile, so that stain, brightness and scanner weigh little.
It is there so that everything runs without a download; a foundation model sees far more. Our
construction from standard parts: optical density (Ruifrok & Johnston 2001), differences of
Gaussians (Lindeberg 1998), granulometry by erosion (Matheron 1975), the structure tensor, local binary
patterns (Ojala et al. 2002).
"""

import cv2
import numpy as np

from offsite.files import digest_of
from offsite.pathology.tile_encoders import measurements as measure
from offsite.pathology.tile_encoders.contract import check_pixels

VERSION = 1
"""Goes up when the same tile would give other features."""

WORKING_MPP = 1.0
"""um per px at which everything is measured: coarse enough to leave out scanner blur and noise."""

_OD = -np.log10((np.arange(256, dtype=np.float64) + 1) / 256).astype(np.float32)
# Rows: haematoxylin and eosin density from R, G, B optical density; the inverse of the standard
# stain matrix with its residual (Ruifrok & Johnston 2001, as in scikit-image's hed_from_rgb).
_STAINS = np.linalg.inv(np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])).T[
    :2
]


class StructureBaseline:
    """Fixed-filter measurements of nuclear size, density and arrangement; a baseline.

    Parameters
    ----------
    tile_px : int
        Side of a tile, px.
    mpp : float
        um per px of the tiles; filter sizes are in um.
    """

    name = "structure_baseline"

    def __init__(self, tile_px: int = 224, mpp: float = 0.5) -> None:
        self.tile_px, self.mpp = tile_px, mpp
        self.digest = digest_of([self.name, VERSION, mpp])
        self.dimensions = len(self.encode(np.full((1, 64, 64, 3), 200, np.uint8))[0])

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return features (float32, N x D) of tiles (uint8 RGB, N x P x P x 3)."""
        check_pixels(pixels)
        if not len(pixels):
            return np.empty((0, self.dimensions), np.float32)
        return np.stack([self._features(tile) for tile in pixels])

    def _features(self, tile: np.ndarray) -> np.ndarray:
        haematoxylin, eosin, brightness = self._channels(tile)
        nuclear = measure.normalised(haematoxylin)
        stroma = measure.normalised(eosin)
        parts = [
            *measure.blobs(nuclear, WORKING_MPP),
            *measure.nuclei(nuclear, WORKING_MPP),
            *measure.holes(brightness, WORKING_MPP),
            measure.spectrum(nuclear),
            *measure.orientation(nuclear),
            *measure.orientation(stroma),
            measure.binary_patterns(nuclear, 1),
            measure.binary_patterns(nuclear, 3),
            measure.energies(stroma),
        ]
        return np.concatenate(parts).astype(np.float32)

    def _channels(self, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        side = max(round(len(tile) * self.mpp / WORKING_MPP), 32)
        small = cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA)
        density = cv2.LUT(small, _OD)
        stains = cv2.transform(density, _STAINS.astype(np.float32))
        brightness = cv2.transform(density, np.full((1, 3), 1 / 3, np.float32))
        return stains[..., 0].copy(), stains[..., 1].copy(), brightness
