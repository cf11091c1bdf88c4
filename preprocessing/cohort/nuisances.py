"""What a picture shows of its camera and its storage, and nothing of disease: some twenty numbers."""

from pathlib import Path

import cv2
import numpy as np

_SIDE = 512
_DARK = 10
_LEVELS = (10, 50, 90)
COLOUR = tuple(
    f"{channel}_{what}"
    for channel in ("lightness", "green_red", "blue_yellow")
    for what in ("mean", "deviation", *(f"p{level}" for level in _LEVELS))
)
SHARPNESS, SIZE, STORAGE = ("sharpness",), ("width", "height"), ("bytes", "bytes_per_pixel")
NAMES = (*COLOUR, *SHARPNESS, *SIZE, *STORAGE)
"""Of the numbers, in their order."""


def nuisances(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    """Return the numbers of one picture: colour, sharpness, size and storage.

    Colour is that of CIE Lab over all that is not dark, so that a black rim does not count:
    mean, deviation and three quantiles of each channel. Sharpness is the logarithm of the variance
    of the Laplacian, of the picture brought to 512 px.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, H x W x 3, RGB.
    path : path
        Its file, for the size on disk.

    Returns
    -------
    numpy.ndarray
        float64, one for each of `NAMES`; all are finite.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     found = nuisances(np.full((40, 40, 3), 128, np.uint8), file.name)
    >>> len(found) == len(NAMES), float(found[NAMES.index("lightness_deviation")])
    (True, 0.0)
    """
    height, width = pixels.shape[:2]
    share = min(1.0, _SIDE / max(height, width))
    small = cv2.resize(
        pixels, (max(1, round(width * share)), max(1, round(height * share))),
        interpolation=cv2.INTER_AREA,
    )  # fmt: skip
    lit = small.max(axis=2) > _DARK
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[lit if lit.any() else np.ones_like(lit)]
    colour = [
        number
        for channel in lab.T.astype(np.float64)
        for number in (channel.mean(), channel.std(), *np.percentile(channel, _LEVELS))
    ]
    edges = cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_64F)
    stored = max(Path(path).stat().st_size, 1)
    return np.array(
        [
            *colour,
            np.log(edges.var() + 1),
            np.log(width),
            np.log(height),
            np.log(stored),
            np.log(stored / (width * height)),
        ]
    )
