"""Which tile encoders there are, and whether one does what every other part relies on."""

import time
from collections.abc import Iterator

import numpy as np
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.pathology.tile_encoders.names import TIMM, encoder_names, needs
from offsite.pathology.tile_encoders.registry import EncoderSettings, TileEncoder, load_encoder
from offsite.training.encoders import EncoderEntry, EncoderProperty

TILES = 6
SAME = 1e-3
"""Most that a number may differ, as a share of the features' spread, where tiles are encoded alone."""


def list_encoders() -> Iterator[EncoderEntry]:
    """Yield every encoder that there is, each loaded where it can be."""
    for name in encoder_names():
        try:
            encoder = load_encoder(EncoderSettings(name=name))
        except InputError as error:
            yield EncoderEntry(name=name, ready=False, dimensions=None, needs=error.problem)
        else:
            yield EncoderEntry(name=name, ready=True, dimensions=encoder.dimensions)
    lacks = f"weights, and the package {needs(TIMM).package}: any network of it, by its name there"
    yield EncoderEntry(name=f"{TIMM}NAME", ready=False, dimensions=None, needs=lacks)


def encoder_named(text: str, like: EncoderSettings | None = None) -> EncoderSettings:
    """Read ``NAME`` or ``NAME=WEIGHTS``; the rest is as in the settings given.

    Raises
    ------
    InputError
        Code ``unknown_encoder``.

    Examples
    --------
    >>> encoder_named("resnet18=weights.pt").weights
    'weights.pt'
    """
    name, _, weights = text.partition("=")
    base = (like or EncoderSettings()).model_dump()
    try:
        return EncoderSettings.model_validate(base | {"name": name, "weights": weights or None})
    except ValidationError as error:
        raise InputError(
            f"'{name}' is no encoder",
            code="unknown_encoder",
            remedy="`offsite encoder list` shows them; write NAME or NAME=WEIGHTS",
        ) from error


def check_encoder(encoder: TileEncoder, seed: int = 0) -> list[EncoderProperty]:
    """Encode a few made-up tiles and say what holds.

    Parameters
    ----------
    encoder : TileEncoder
        A loaded encoder.
    seed : int
        Of the tiles: coloured grounds with darker discs.
    """
    tiles = _tiles(encoder.tile_px, seed)
    encoder.encode(tiles[:1])  # the first call of a network makes its buffers
    start = time.monotonic()
    features = encoder.encode(tiles)
    seconds = time.monotonic() - start
    again = encoder.encode(tiles)
    alone = np.concatenate([encoder.encode(tiles[n : n + 1]) for n in range(len(tiles))])
    spread = float(features.std()) or 1.0
    apart = float(np.abs(alone - features).max()) / spread
    varied = float(features.std(axis=0).max())
    return [
        EncoderProperty(
            name="shape",
            holds=features.shape == (len(tiles), encoder.dimensions)
            and features.dtype == np.float32,
            sentence=f"{features.shape[1]} numbers of {features.dtype} a tile"
            f" (promised: {encoder.dimensions} of float32)",
        ),
        EncoderProperty(
            name="finite",
            holds=bool(np.isfinite(features).all()),
            sentence=f"{int((~np.isfinite(features)).sum())} numbers that are none",
        ),
        EncoderProperty(
            name="repeatable",
            holds=bool(np.array_equal(features, again)),
            sentence="the same tiles give the same features, bit for bit",
        ),
        EncoderProperty(
            name="alone as in a batch",
            holds=apart <= SAME,
            sentence=f"largest difference {apart:.1g} of the spread (at most {SAME:g})",
        ),
        EncoderProperty(
            name="tells tiles apart",
            holds=varied > 0,
            sentence=f"largest deviation of a number over {len(tiles)} tiles: {varied:.3g}",
        ),
        EncoderProperty(
            name="speed",
            holds=True,
            sentence=f"{len(tiles) / max(seconds, 1e-9):.1f} tiles a second here",
        ),
    ]


def _tiles(px: int, seed: int) -> np.ndarray:
    """Made-up tiles (uint8, N x px x px x 3)."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:px, :px]
    tiles = []
    for _ in range(TILES):
        tile = np.ones((px, px, 3)) * generator.uniform(150, 235, 3)
        for _ in range(12):
            x, y = generator.uniform(0, px, 2)
            inside = (rows - y) ** 2 + (columns - x) ** 2 < generator.uniform(px / 30, px / 8) ** 2
            tile[inside] = generator.uniform(60, 150, 3)
        tiles.append(np.clip(tile + generator.normal(0, 4, tile.shape), 0, 255).astype(np.uint8))
    return np.stack(tiles)
