"""Levels as colours over a picture: one scale for attention and for evidence."""

import numpy as np

_OPACITY = (0.22, 0.78)  # of the coldest and the hottest tile: where little is, tissue shows
# Pale yellow over orange to dark red: the darker, the more, also in black and white print.
_COLOURS = ((255, 245, 170), (254, 204, 92), (253, 141, 60), (227, 26, 28), (128, 0, 38))


def tinted(levels: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Return levels (H x W, 0 to 1) as a transparent picture (RGBA), nothing where not covered."""
    steps = np.arange(256, dtype=np.float32) / 255
    table = np.column_stack([coloured(steps), opacity(steps)]).view(np.uint32)[:, 0]
    # One number per pixel is looked up: four times cheaper than its four bands.
    colours = table[np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)]
    return np.where(covered, colours, np.uint32(0))[..., None].view(np.uint8)


def opacity(levels: np.ndarray) -> np.ndarray:
    """Return how opaque (uint8) levels in [0, 1] are shown."""
    low, high = _OPACITY
    return np.rint(255 * (low + (high - low) * np.clip(levels, 0, 1))).astype(np.uint8)


def coloured(levels: np.ndarray) -> np.ndarray:
    """Return the colours (uint8, RGB) of levels in [0, 1]."""
    places = np.linspace(0, 1, len(_COLOURS))
    steps = np.linspace(0, 1, 256)
    table = np.stack([np.interp(steps, places, band) for band in zip(*_COLOURS, strict=True)], 1)
    return np.rint(table).astype(np.uint8)[np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)]
