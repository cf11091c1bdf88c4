"""Whether a photograph can be graded, how well, and why not.

The measures are physical (light, focus, field) and not trained; their bounds are our construction,
set so that hardly any photograph that human readers did grade is refused. A refused photograph is
not a healthy one: it calls for another picture or a referral.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_QUALITY_PX = 256  # all photographs are measured at one size, or the score depends on it

# Value at which a measure counts as lost, and value from which it is no complaint.
_BOUNDS = {
    "too_dark": (0.08, 0.20),
    "too_bright": (0.93, 0.80),
    "clipped": (0.35, 0.10),
    "blurred": (0.005, 0.011),
    "low_contrast": (0.008, 0.018),
    "uneven_light": (0.08, 0.30),
    "little_field": (0.55, 0.75),
}


@dataclass(frozen=True)
class Quality:
    """The quality record of a photograph.

    Attributes
    ----------
    gradable : bool
        No measure is lost.
    score : float
        0 (lost) to 1 (no complaint): the worst measure.
    reasons : tuple of str
        Measures below half of their range, worst first.
    measures : dict of str to float
        The measured values.
    """

    gradable: bool
    score: float
    reasons: tuple[str, ...]
    measures: dict[str, float]


def assess(pixels: np.ndarray, inside: np.ndarray, coverage: float, *, filtered: bool) -> Quality:
    """Measure a cropped photograph before any enhancement.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, S x S x 3, RGB, cropped to the field of view.
    inside : numpy.ndarray
        bool, S x S: pixels of the retina.
    coverage : float
        Share of the field of view that lies within the picture.
    filtered : bool
        The local mean was subtracted before: light and its evenness tell nothing then.
    """
    size = (_QUALITY_PX, _QUALITY_PX)
    green = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    # The rim's own edge is no detail.
    core = cv2.erode(mask.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    if core.sum() < 100:
        return Quality(False, 0.0, ("little_field",), {"little_field": coverage})
    measures = _measures(green, core, coverage)
    if filtered:
        for name in ("too_dark", "too_bright", "clipped", "uneven_light"):
            del measures[name]
    grades = {name: _grade(name, value) for name, value in measures.items()}
    score = min(grades.values())
    worst_first = sorted(grades, key=lambda name: (grades[name], name))
    reasons = tuple(name for name in worst_first if grades[name] < 0.5)
    rounded = {name: round(value, 4) for name, value in measures.items()}
    return Quality(score > 0, round(score, 4), reasons, rounded)


def _measures(picture: np.ndarray, core: np.ndarray, coverage: float) -> dict[str, float]:
    red, green, blue = cv2.split(picture)
    brightest = cv2.max(cv2.max(red, green), blue)
    darkest = cv2.min(cv2.min(red, green), blue)
    weight = _wide_mean(core.astype(np.float32)) + 1e-6
    mean = _wide_mean(brightest * core) / weight
    detail = green - cv2.GaussianBlur(green, (0, 0), 1.5)
    structure = green - _wide_mean(green * core) / weight
    inside = np.flatnonzero(core)
    third = inside[::3]
    low, high = np.percentile(mean.ravel()[inside[::7]], [2, 98])
    return {
        "too_dark": float(np.median(brightest.ravel()[third])),
        "too_bright": float(np.median(green.ravel()[third])),
        "clipped": float(((darkest > 0.98) | (brightest < 0.02)).ravel()[inside].mean()),
        "blurred": float(np.percentile(np.abs(detail.ravel()[third]), 95)),
        "low_contrast": float(structure.ravel()[inside].std()),
        "uneven_light": float(low / max(high, 1e-6)),
        "little_field": coverage,
    }


def _wide_mean(values: np.ndarray) -> np.ndarray:
    """Gaussian mean of sd 12 px; what is so smooth is known from a quarter of the size."""
    small = cv2.resize(values, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 3)
    return cv2.resize(small, values.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _grade(name: str, value: float) -> float:
    lost, fine = _BOUNDS[name]
    return float(np.clip((value - lost) / (fine - lost), 0, 1))
