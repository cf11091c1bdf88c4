"""A CONTROL encoder that reads nothing but colour: what a stain-sensitive encoder looks like.

It is no encoder to build a model on. Beside it, a report on twins shows how far another encoder is
from merely reading the stain. Our construction.
"""

import numpy as np

from offsite.files import digest_of
from offsite.pathology.tile_encoders.contract import check_pixels

VERSION = 1
"""Goes up when the same tile would give other features."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class ColourBaseline:
    """Mean, deviation and quantiles of red, green and blue, and their correlations; a control.

    Parameters
    ----------
    tile_px : int
        Side of a tile, px.
    mpp : float
        um per px of the tiles; colour statistics hardly depend on it.
    """

    name = "colour_baseline"
    dimensions = 3 * (2 + len(QUANTILES)) + 3

    def __init__(self, tile_px: int = 224, mpp: float = 0.5) -> None:
        self.tile_px, self.mpp = tile_px, mpp
        self.digest = digest_of([self.name, VERSION])

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return features (float32, N x 24) of tiles (uint8 RGB, N x P x P x 3)."""
        check_pixels(pixels)
        if not len(pixels):
            return np.empty((0, self.dimensions), np.float32)
        return np.stack([_features(tile) for tile in pixels])


def _features(tile: np.ndarray) -> np.ndarray:
    channels = tile.reshape(-1, 3).T.astype(np.float64) / 255
    mean, deviation = channels.mean(axis=1), channels.std(axis=1)
    centred = (channels - mean[:, None]) / np.maximum(deviation, 1e-6)[:, None]
    correlation = (centred @ centred.T / centred.shape[1])[np.triu_indices(3, 1)]
    quantiles = np.quantile(channels, QUANTILES, axis=1).ravel()
    return np.concatenate([mean, deviation, quantiles, correlation]).astype(np.float32)
