"""Views of one tile under other stains, and how far an encoder moves it between them."""

from collections.abc import Iterable

import numpy as np

from offsite.pathology.tile_encoders.contract import TileEncoder
from offsite.preprocessing.augment.stain import StainAugmentationSettings, stain_augmentation

VIEWS = 4
STRENGTH = 0.2
"""Of the jitter of haematoxylin and eosin; strong in Tellez et al. 2019."""


def scatter_of_views(
    batches: Iterable[np.ndarray], encoder: TileEncoder, *, seed: int = 0
) -> tuple[np.ndarray, int]:
    """Return the covariance (D x D) of tiles' views about each tile's mean, and how many tiles.

    Parameters
    ----------
    batches : iterable of numpy.ndarray
        Tiles, uint8 N x P x P x 3 each.
    encoder : TileEncoder
    seed : int
        Of the jitter.
    """
    jitter = stain_augmentation(
        StainAugmentationSettings(
            hed=STRENGTH, hed_probability=1.0, template_probability=0.0, seed=seed
        )
    )
    total, tiles = np.zeros((encoder.dimensions, encoder.dimensions)), 0
    for pixels in batches:
        shown = [pixels]
        for _ in range(VIEWS):
            shown.append(np.stack([jitter(image=tile)["image"] for tile in pixels]))
        views = np.stack([encoder.encode(each).astype(np.float64) for each in shown])
        moved = (views - views.mean(axis=0)).reshape(-1, views.shape[2])
        total += moved.T @ moved / VIEWS
        tiles += len(pixels)
    return total / max(tiles, 1), tiles
