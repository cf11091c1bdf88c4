"""What every tile encoder offers."""

from typing import Protocol, runtime_checkable

import numpy as np

from offsite.errors import InputError

SCALE_TOLERANCE = 0.1


@runtime_checkable
class TileEncoder(Protocol):
    """A deterministic function from tiles to features.

    Attributes
    ----------
    name : str
        Its name in the registry, with the variant where there is one.
    dimensions : int
        D, the length of a feature vector.
    digest : str
        SHA-256 (hex) over the code version, the settings and the weights.
    tile_px : int
        Side of a tile it was made for, px. Other sides may be resized.
    mpp : float
        um per px it was made for.
    """

    name: str
    dimensions: int
    digest: str
    tile_px: int
    mpp: float

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return features (float32, N x D) of tiles (uint8 RGB, N x P x P x 3).

        A tile's features do not depend on the other tiles of the call.
        """


def check_scale(encoder: TileEncoder, mpp: float) -> None:
    """Refuse tiles whose scale is not the encoder's.

    Raises
    ------
    InputError
        ``mpp`` (um per px) differs from the encoder's by more than a tenth; code ``scale``.
    """
    if abs(mpp / encoder.mpp - 1) > SCALE_TOLERANCE:
        raise InputError(
            f"tiles at {mpp:.3g} um per px, but encoder {encoder.name} expects {encoder.mpp:.3g}",
            remedy=f"Tile at {encoder.mpp:.3g} um per px, or set the encoder's mpp",
            code="scale",
        )


def check_pixels(pixels: np.ndarray) -> None:
    """Refuse what is not a batch of RGB tiles.

    Raises
    ------
    ValueError
        ``pixels`` is not uint8 of shape N x P x P x 3.
    """
    square = pixels.ndim == 4 and pixels.shape[1] == pixels.shape[2] and pixels.shape[3] == 3
    if not square or pixels.dtype != np.uint8:
        raise ValueError(f"tiles are uint8 N x P x P x 3, not {pixels.dtype} {pixels.shape}")
