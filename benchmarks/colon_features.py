"""Features of real colon tiles as several sites see them: the network in the box and the baselines."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.color import hed2rgb, rgb2hed

from offsite.files import replacing
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.training.trunk.network import folded_state
from offsite.training.trunk.reading import TrunkReader, as_pixels, statistics_of
from offsite.training.trunk.settings import TrunkReadingSettings
from offsite.training.trunk.weights import trunk_state

CLASSES = ("H", "T", "V", "S")
"""Normal mucosa; tubular, villous and serrated adenoma."""
SITES = ("A", "B", "C")
"""The first folder; the second; the second in another laboratory's stain."""
LABORATORIES = ("A", "D", "E")
"""The first folder as it is, and in the stains of two laboratories that are not C's."""
PX = 176
_BLOCK = 220


@dataclass(frozen=True)
class Laboratory:
    """How a laboratory's tiles look beside those of the folder: factors, and an offset of eosin."""

    haematoxylin: float
    eosin: float
    eosin_offset: float
    gamma: float
    tint: tuple[float, float, float]

    def seen(self, tile: np.ndarray) -> np.ndarray:
        """Return a tile (uint8 RGB) in this laboratory's stain."""
        stains = rgb2hed(tile)
        stains[..., 0] *= self.haematoxylin
        stains[..., 1] = self.eosin * stains[..., 1] + self.eosin_offset
        seen = np.clip(hed2rgb(stains), 0, 1) ** self.gamma * np.array(self.tint)
        return np.asarray(np.round(255 * seen), np.uint8)


_STAINS = {
    "C": Laboratory(0.65, 1.45, 0.01, 1.15, (1.0, 0.96, 0.9)),  # darker and yellower
    "D": Laboratory(1.35, 0.7, 0.0, 0.95, (0.94, 0.97, 1.0)),  # more haematoxylin, bluer
    "E": Laboratory(0.8, 0.75, 0.0, 0.8, (1.0, 0.95, 0.98)),  # paler and pinker
}


def tiles_of(data: Path, site: str) -> tuple[list[Path], np.ndarray]:
    """Return the files of a site's tiles and their classes (index into `CLASSES`)."""
    folder = data / ("first" if site in LABORATORIES else "second")
    files = [file for name in CLASSES for file in sorted((folder / name).iterdir())]
    return files, np.array([CLASSES.index(file.parent.name) for file in files])


def features_of(data: Path, site: str, out: Path) -> dict[str, np.ndarray]:
    """Return the features of a site's tiles by encoder, kept below ``out`` block by block.

    ``last`` (640) and ``all`` (1,632) are what the encoder efficientnet-lite0 gives; ``top`` is the
    mean of the network's last layer (1,280); ``structure`` (123) and ``colour`` (24) need no network.
    """
    files, _ = tiles_of(data, site)
    blocks = []
    for start in range(0, len(files), _BLOCK):
        kept = out / f"{site}-{start:05d}.npz"
        if not kept.is_file():
            tiles = [_read(file, site) for file in files[start : start + _BLOCK]]
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as temporary, temporary.open("wb") as file:
                np.savez(file, **_encoded(np.stack(tiles)))
        with np.load(kept) as arrays:
            blocks.append(dict(arrays))
    joined = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return joined | {"last": joined["all"][:, -640:]}


def _read(file: Path, site: str) -> np.ndarray:
    tile = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    return _STAINS[site].seen(tile) if site in _STAINS else tile


@torch.inference_mode()
def _encoded(tiles: np.ndarray) -> dict[str, np.ndarray]:
    settings = TrunkReadingSettings()
    reader = TrunkReader(settings).eval()
    reader.net.load_state_dict(folded_state(trunk_state(None)))
    found: dict[str, list[np.ndarray]] = {"all": [], "top": []}
    for start in range(0, len(tiles), 8):
        small = torch.nn.functional.interpolate(
            as_pixels(tiles[start : start + 8]), (PX, PX), mode="bilinear", antialias=True
        )
        maps = reader.maps(small)
        found["all"].append(statistics_of(maps, settings).numpy())
        found["top"].append(reader.net.top(maps[-1]).mean((2, 3)).numpy())
    rows = {name: np.concatenate(parts) for name, parts in found.items()}
    for name in ("structure_baseline", "colour_baseline"):
        encoder = load_encoder(EncoderSettings(name=name, device="cpu"))
        rows[name.removesuffix("_baseline")] = encoder.encode(tiles)
    return {name: part.astype(np.float16) for name, part in rows.items()}
