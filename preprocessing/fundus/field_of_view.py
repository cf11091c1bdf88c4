"""Find the field of view of a fundus photograph: the lit disc on a plain background."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from offsite.preprocessing.fundus.filtered import (
    BRIGHTEST_SURROUND,
    fills_the_picture,
    is_grey,
    textured,
)
from offsite.preprocessing.fundus.several_fields import Ellipse, several_fields
from offsite.preprocessing.shrinking import halved, halvings

Method = Literal["circle", "ellipse", "box", "whole"]
_Disc = tuple[Ellipse, Method, float]

_SEARCH_PX = 320
_LARGEST_GAP = 0.15  # largest mismatch of outline and fitted disc, share of the disc


@dataclass(frozen=True)
class FieldOfView:
    """An upright ellipse; a circle unless the picture was squeezed.

    Attributes
    ----------
    centre_x, centre_y : float
        Of the ellipse, px from the top left.
    radius_x, radius_y : float
        Half axes, px.
    coverage : float
        Share of the ellipse that lies within the picture, 0 to 1.
    method : {"circle", "ellipse", "box", "whole"}
        How it was found; ``box`` is the bounding box of what is lit, where too little of the rim is
        seen to fit a curve; ``whole`` is the whole picture, by request, or where a filtered retina
        fills it.
    background : tuple of int
        Colour outside (R, G, B).
    several : bool
        Whether the picture shows more than one field, as two eyes on one page.
    """

    centre_x: float
    centre_y: float
    radius_x: float
    radius_y: float
    coverage: float
    method: Method
    background: tuple[int, int, int]
    several: bool = False

    @property
    def filtered(self) -> bool:
        """Whether the background is mid grey: the local mean was already subtracted."""
        return is_grey(np.array(self.background))


def whole_picture(pixels: np.ndarray) -> FieldOfView:
    """Return the disc that circumscribes nothing: the picture itself, taken as already cropped."""
    height, width = pixels.shape[:2]
    return FieldOfView(width / 2, height / 2, width / 2, height / 2, 1.0, "whole", (0, 0, 0))


def find_field(pixels: np.ndarray) -> FieldOfView | None:
    """Find the field of view, or None where there is no disc on a background.

    The background is the corners' median colour, so it may be black, near black or grey. What
    differs from it is lit; the hull of the largest lit piece gives the outline, in which burnt-in
    text is too small to matter. A circle is fitted to the outline away from the picture's frame, so
    a disc cut off at the frame is found whole; where no circle fits, an upright ellipse (pictures
    squeezed to a square). Points that do not fit (a notch, a glare) are trimmed. On mid grey, where
    the retina of a filtered picture may hardly differ, texture stands in for light; a filtered
    retina that fills its picture to the corners is taken whole. Our construction.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, H x W x 3, RGB.
    """
    longest, shortest = max(pixels.shape[:2]), min(pixels.shape[:2])
    times = min(halvings(longest, _SEARCH_PX), halvings(shortest, 1))
    pixels = halved(pixels, times)
    height, width = pixels.shape[:2]
    scale = min(1.0, _SEARCH_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR) if scale < 1 else pixels
    corners = _corner_colours(small)
    background = np.median(corners, axis=0)
    if background.min() > BRIGHTEST_SURROUND:
        return None
    found = _found(_apart(small, background), filtered=is_grey(background))
    if found is None:
        return _filling(pixels, small, corners, 2**times)
    ((x, y, rx, ry), method, coverage), several = found
    up = np.array([width / small.shape[1], height / small.shape[0]]) * 2**times
    colour = tuple(int(v) for v in background)
    return FieldOfView(
        x * up[0],
        y * up[1],
        rx * up[0],
        ry * up[1],
        coverage,
        method,
        (colour[0], colour[1], colour[2]),
        several,
    )


def _found(apart: np.ndarray, *, filtered: bool) -> tuple[_Disc, bool] | None:
    """The disc, and whether there are several; in a filtered picture texture has its say.

    There light shows parts of a retina, which may look like two fields; texture tells one from two.
    """
    lit = _lit(apart)
    disc = _disc_of(lit)
    several = disc is not None and several_fields(lit, disc[0], patchy=filtered)
    for rough in textured(apart) if filtered else ():
        amid = _closed(rough.astype(np.uint8), 0.04)
        other = _disc_of(amid)
        if other is not None:
            best = other if disc is None or several else disc
            return best, several_fields(amid, other[0])
    return None if disc is None else (disc, several)


def _filling(
    pixels: np.ndarray, small: np.ndarray, corners: np.ndarray, times: int
) -> FieldOfView | None:
    if not fills_the_picture(small, corners):
        return None
    height, width = (side * times / 2 for side in pixels.shape[:2])
    return FieldOfView(width, height, width, height, 1.0, "whole", (128, 128, 128))


def _corner_colours(small: np.ndarray) -> np.ndarray:
    """Each corner's median (4 x 3); over them the median is taken, for one may hold text."""
    side = max(2, round(0.03 * max(small.shape[:2])))
    corners = [
        small[:side, :side],
        small[:side, -side:],
        small[-side:, :side],
        small[-side:, -side:],
    ]
    return np.median([corner.reshape(-1, 3) for corner in corners], axis=1)


def _apart(small: np.ndarray, background: np.ndarray) -> np.ndarray:
    """How far each pixel is from the background in the colour where it is farthest (float32)."""
    # Plane by plane: over the three values of a pixel numpy takes three times as long.
    planes = zip(cv2.split(small), background.astype(np.float32), strict=True)
    red, green, blue = (np.abs(plane - level) for plane, level in planes)
    return cv2.max(cv2.max(red, green), blue)


def _lit(apart: np.ndarray) -> np.ndarray:
    """Pixels that differ from the background (uint8, 0 or 1)."""
    smooth = cv2.medianBlur(apart.astype(np.uint8), 3)
    otsu, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_OTSU)
    lit = (smooth > np.clip(otsu * 0.4, 10, 40)).astype(np.uint8)
    return _closed(lit, 0.02)


def _closed(mask: np.ndarray, share: float) -> np.ndarray:
    size = max(3, round(share * max(mask.shape)) | 1)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))


def _disc_of(lit: np.ndarray) -> _Disc | None:
    """Curve, method and coverage of the disc that the lit pixels form, or None."""
    hull = _outline(lit)
    fitted = None if hull is None else _fit(hull, lit.shape)
    if hull is None or fitted is None:
        return None
    coverage, agreement = _agreement(hull, fitted[0], lit.shape)
    return (*fitted, coverage) if agreement >= 1 - _LARGEST_GAP else None


def _outline(lit: np.ndarray) -> np.ndarray | None:
    """Convex hull (K x 2, px) of the largest lit piece; None where it is small or everything."""
    contours, _ = cv2.findContours(lit, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    hull = cv2.convexHull(max(contours, key=cv2.contourArea))[:, 0, :].astype(np.float64)
    covered = cv2.contourArea(hull.astype(np.float32)) / lit.size
    return hull if 0.1 <= covered <= 0.98 else None


def _rim_points(hull: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Points along the hull's sides, one a pixel, away from the picture's frame."""
    sides = np.roll(hull, -1, axis=0) - hull
    steps = np.maximum(1, np.hypot(*sides.T).astype(int))
    side = np.repeat(np.arange(len(hull)), steps)
    along = (np.arange(len(side)) - (np.cumsum(steps) - steps)[side]) / steps[side]
    rim = hull[side] + sides[side] * along[:, None]
    height, width = shape[:2]
    inside = (rim[:, 0] > 2) & (rim[:, 0] < width - 3) & (rim[:, 1] > 2) & (rim[:, 1] < height - 3)
    return rim[inside]


def _fit(hull: np.ndarray, shape: tuple[int, ...]) -> tuple[Ellipse, Method] | None:
    rim = _rim_points(hull, shape)
    low, high = hull.min(axis=0), hull.max(axis=0)
    half = (high - low) / 2
    box = (*((low + high) / 2), *half)
    if len(rim) < 20:
        return (box[0], box[1], box[2], box[3]), "box"
    circle, circle_error = _trimmed_fit(rim, circle=True)
    if circle is not None and circle_error < 0.012 and _plausible(circle, half):
        return circle, "circle"
    ellipse, ellipse_error = _trimmed_fit(rim, circle=False)
    if ellipse is not None and ellipse_error < 0.025 and _plausible(ellipse, half):
        return ellipse, "ellipse"
    if circle is not None and circle_error < 0.03 and _plausible(circle, half):
        return circle, "circle"
    return None


def _plausible(ellipse: Ellipse, half: np.ndarray) -> bool:
    radii = np.array(ellipse[2:])
    return bool((radii > 0.85 * half).all() and (radii < 1.7 * half.max()).all())


def _trimmed_fit(rim: np.ndarray, *, circle: bool) -> tuple[Ellipse | None, float]:
    """Least squares on the rim, three times, each time without the points that fit badly.

    Solves a (x^2 + y^2) + d x + e y = 1 (circle) or a x^2 + c y^2 + d x + e y = 1. The error is the
    median relative distance from the curve over all points.
    """
    centre, spread = rim.mean(axis=0), rim.std() + 1e-9
    unit = (rim - centre) / spread
    kept = np.ones(len(unit), bool)
    curve: Ellipse | None = None
    distance = np.full(len(unit), np.inf)
    for _ in range(4):
        x, y = unit[kept].T
        squares = [x**2 + y**2] if circle else [x**2, y**2]
        system = np.stack([*squares, x, y], axis=1)
        solution = np.linalg.lstsq(system.T @ system, system.sum(axis=0), rcond=None)[0]
        a, c = (solution[0], solution[0]) if circle else (solution[0], solution[1])
        d, e = solution[-2:]
        if a <= 0 or c <= 0:
            return None, np.inf
        middle = np.array([-d / (2 * a), -e / (2 * c)])
        power = 1 + d**2 / (4 * a) + e**2 / (4 * c)
        radii = np.sqrt([power / a, power / c])
        distance = np.abs(np.hypot(*((unit - middle) / radii).T) - 1)
        curve = (*(middle * spread + centre), *(radii * spread))
        close = distance <= max(3 * float(np.median(distance)), 0.004)
        if close.sum() < 10:
            return None, np.inf
        if (close == kept).all():
            break
        kept = close
    return curve, float(np.median(distance))


def _agreement(hull: np.ndarray, ellipse: Ellipse, shape: tuple[int, ...]) -> tuple[float, float]:
    """Share of the ellipse within the picture, and overlap (IoU) of hull and ellipse there."""
    height, width = shape[:2]
    x, y, rx, ry = ellipse
    across = ((np.arange(width) - x) / rx) ** 2
    down = ((np.arange(height) - y) / ry) ** 2
    disc = across[None] + down[:, None] <= 1
    outline = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(outline, np.round(hull).astype(np.int32), 1)
    lit = outline > 0
    coverage = min(1.0, float(disc.sum()) / (np.pi * rx * ry))
    return coverage, float((disc & lit).sum() / max((disc | lit).sum(), 1))
