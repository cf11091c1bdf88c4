"""The pretrained trunk as a tile encoder, alone or joined with the measurements of structure."""

import numpy as np
import torch

from offsite.files import digest_of
from offsite.pathology.tile_encoders.contract import TileEncoder, check_pixels
from offsite.pathology.tile_encoders.weights import weights_digest
from offsite.training.trunk.network import folded_state
from offsite.training.trunk.reading import TrunkReader, as_pixels, pictures_at_once
from offsite.training.trunk.settings import TrunkReadingSettings
from offsite.training.trunk.weights import trunk_state

VERSION = 1
"""Goes up when the same tile would give other features."""

_ON_A_DEVICE = 128  # tiles at once


class TrunkEncoder:
    """Mean and deviation of the maps of EfficientNet-Lite0 with ImageNet weights.

    Parameters
    ----------
    reading : TrunkReadingSettings
        Which stages are read.
    tile_px, mpp : int, float
        Side of a tile (px) and its um per px.
    read_px : int, optional
        Side at which the network sees a tile, px; by default as it is cut. Its time goes with the
        square.
    weights : str, optional
        A local file of other weights of this network.
    device : str
        ``auto`` takes a GPU where there is one.

    Raises
    ------
    InputError
        See `offsite.training.trunk.weights.trunk_state`.
    """

    name = "efficientnet-lite0"

    def __init__(
        self,
        reading: TrunkReadingSettings,
        *,
        tile_px: int = 224,
        mpp: float = 0.5,
        read_px: int | None = None,
        weights: str | None = None,
        device: str = "auto",
    ) -> None:
        device_name = (
            ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        )
        self.tile_px, self.mpp, self.device = tile_px, mpp, torch.device(device_name)
        self.dimensions = reading.dimensions
        state = trunk_state(weights)
        facts = {
            "name": self.name, "version": VERSION, "mpp": mpp, "read_px": read_px or tile_px,
            "reading": reading.model_dump(mode="json"),
        }  # fmt: skip
        self.digest = weights_digest(state, facts)
        self._px = read_px or tile_px
        reader = TrunkReader(reading)
        reader.net.load_state_dict(folded_state(state))
        self._reader = reader.eval().to(self.device)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return features (float32, N x D) of tiles (uint8 RGB, N x P x P x 3)."""
        check_pixels(pixels)
        on_processor = self.device.type == "cpu"
        step = pictures_at_once(self._px) if on_processor else _ON_A_DEVICE
        batches = [self._run(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        return np.concatenate([np.empty((0, self.dimensions), np.float32), *batches])

    @torch.inference_mode()
    def _run(self, pixels: np.ndarray) -> np.ndarray:
        tiles = as_pixels(pixels).to(self.device)
        if tiles.shape[-1] != self._px:
            tiles = torch.nn.functional.interpolate(
                tiles, (self._px, self._px), mode="bilinear", antialias=True
            )
        read_features: np.ndarray = self._reader(tiles).cpu().numpy()
        return read_features


class JoinedEncoder:
    """Two encoders of the same tiles, their features side by side.

    Parameters
    ----------
    first, second : TileEncoder
        Made for the same side and um per px.

    Examples
    --------
    >>> from offsite.pathology.tile_encoders.colour import ColourBaseline
    >>> joined = JoinedEncoder(ColourBaseline(), ColourBaseline())
    >>> joined.name, joined.dimensions
    ('colour_baseline+colour', 48)
    """

    def __init__(self, first: TileEncoder, second: TileEncoder) -> None:
        if (first.tile_px, first.mpp) != (second.tile_px, second.mpp):
            raise ValueError("joined encoders read the same tiles")
        self.name = f"{first.name}+{second.name.removesuffix('_baseline')}"
        self.tile_px, self.mpp = first.tile_px, first.mpp
        self.dimensions = first.dimensions + second.dimensions
        self.digest = digest_of([first.digest, second.digest])
        self._parts = (first, second)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return features (float32, N x D) of tiles (uint8 RGB, N x P x P x 3)."""
        return np.concatenate([part.encode(pixels) for part in self._parts], axis=1)
