"""Two eyes in one picture: a second lit field beside the first, or two grown into one."""

import cv2
import numpy as np

Ellipse = tuple[float, float, float, float]

_RIM = 1.06  # light that glares beyond the fitted rim belongs to the field
_BESIDE = 0.2  # real single fields: at most 0.16; a page of two eyes: 0.24 and more
_LONG = 1.3
_WAIST = 0.9  # of an ellipse the middle is 1.15 times as wide as halfway to its end; real: 0.96


def several_fields(lit: np.ndarray, ellipse: Ellipse, *, patchy: bool = False) -> bool:
    """Whether a picture shows more than one field of view. Our construction.

    Either a lit piece lies outside the ellipse that was fitted, as large as 0.2 of it or more; or
    the lit pixels are narrower in its middle than towards its ends, as where two discs touch.

    Parameters
    ----------
    lit : numpy.ndarray
        uint8 or bool, H x W: pixels that differ from the background.
    ellipse : tuple of float
        Centre x and y, and half axes, px.
    patchy : bool
        Only parts of a retina are lit, as in a filtered picture: a narrow middle then counts in a
        long ellipse alone.

    >>> one, two = np.zeros((100, 220), np.uint8), np.zeros((100, 220), np.uint8)
    >>> for picture, centres in ((one, [55]), (two, [55, 165])):
    ...     for x in centres:
    ...         _ = cv2.circle(picture, (x, 50), 45, 1, -1)
    >>> several_fields(one, (55, 50, 45, 45)), several_fields(two, (55, 50, 45, 45))
    (False, True)
    """
    long = max(ellipse[2:]) >= _LONG * min(ellipse[2:])
    return _beside(lit, ellipse) > _BESIDE or ((long or not patchy) and _has_waist(lit, ellipse))


def _beside(lit: np.ndarray, ellipse: Ellipse) -> float:
    """Area of the largest lit piece outside the ellipse and its rim, as a share of its area."""
    x, y, rx, ry = ellipse
    height, width = lit.shape
    across = ((np.arange(width) - x) / (_RIM * rx)) ** 2
    down = ((np.arange(height) - y) / (_RIM * ry)) ** 2
    outside = (lit > 0) & (across[None] + down[:, None] > 1)
    _, _, stats, _ = cv2.connectedComponentsWithStats(outside.astype(np.uint8), connectivity=4)
    return float(stats[1:, cv2.CC_STAT_AREA].max(initial=0) / (np.pi * rx * ry))


def _has_waist(lit: np.ndarray, ellipse: Ellipse) -> bool:
    x, y, rx, ry = ellipse
    for turned, centre, half in ((lit.T, x, rx), (lit, y, ry)):  # a page may have been squeezed
        widths = _extents(turned > 0)
        middle, *ends = (_width_at(widths, centre + part * half) for part in (0.0, -0.5, 0.5))
        if middle < _WAIST * min(ends):
            return True
    return False


def _extents(lit: np.ndarray) -> np.ndarray:
    """Px from the first to the last lit one of each row: a filtered retina has gaps within."""
    first, last = lit.argmax(axis=1), lit.shape[1] - lit[:, ::-1].argmax(axis=1)
    return np.where(lit.any(axis=1), last - first, 0)


def _width_at(widths: np.ndarray, position: float) -> float:
    """The median width over five px around a position; 0 outside the picture."""
    start = round(position) - 2
    near = widths[max(start, 0) : max(start + 5, 0)]
    return float(np.median(near)) if len(near) else 0.0
