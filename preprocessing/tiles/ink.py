"""Ink on a slide: green, blue, red and black marker, told by what light it holds back.

Haematoxylin and eosin both absorb green light most; inks do not (our construction, with thresholds
chosen on real marked slides).
"""

from collections.abc import Callable

import cv2
import numpy as np

from offsite.preprocessing.slides.density import Planes, densities_at, largest, smallest
from offsite.preprocessing.tiles.pieces import grown, without_small
from offsite.preprocessing.tiles.quality import QualitySettings

_BLOOD_REACH = 0.25
_RARE, _STROKE_UM2 = 0.05, 200_000.0
Hue = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def pen_mask(density: Planes, settings: QualitySettings, *, mpp: float) -> np.ndarray:
    """Ink of an overview (bool, H x W), from softened optical density (`density_planes`).

    Green ink lets green light through, which no H&E does; blue ink absorbs red far more than
    green; red ink absorbs blue nearly as much as green and hardly any red; black ink absorbs all
    three alike, where dark nuclei spare the blue. Ink over tissue adds to it, so the same is asked
    of the density above the median of what is not glass. What is clearly ink grows into what may
    be ink and hangs on to it, ``pen_reach_um`` at most; red ink a quarter of that, for blood is
    like it. Where there is a stroke of coloured ink (0.2 mm² of it clear) and its faint hue is
    rare on the slide (less than 5 % of what is not glass), so that the tissue does not have it, it
    is that ink wherever it lies: streaks of felt.
    """
    shape = density[0].shape
    ink = np.zeros(shape, bool)
    top = largest(density)
    where = np.flatnonzero(top > 0.2 * settings.ink_density)  # glass is never ink
    if not len(where):
        return ink
    colours = densities_at(density, where)
    top = top.ravel()[where]
    typical = _typical(colours, top)
    near = np.flatnonzero(top > settings.ink_density)  # what is clearly ink is among these
    dense = densities_at(colours, near)
    least = settings.pen_smallest_um2 / mpp**2
    for base in ((0.0, 0.0, 0.0), typical):
        above = _above(dense, base)
        for name, (strict, loose) in INKS.items():
            clear = strict(*above, settings.ink_density)
            if np.count_nonzero(clear) < max(least, 1):
                continue
            seed = without_small(_placed(clear, where[near], shape), least)
            if not seed.any():
                continue
            perhaps = loose(*_above(colours, base), settings.ink_density)
            within = _placed(perhaps, where, shape)
            reach = settings.pen_reach_um * (_BLOOD_REACH if name == "red" else 1.0)
            inked = grown(seed, within, max(reach / mpp, 8))
            stroke = name != "black" and not any(base) and seed.sum() > _STROKE_UM2 / mpp**2
            if stroke and (within & ~inked).sum() < _RARE * len(where):
                inked |= without_small(within, least)
            ink |= cv2.dilate(inked.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # soft rims
    return ink


def _typical(colours: Planes, top: np.ndarray) -> tuple[float, float, float]:
    """Median density (R, G, B) of a quarter of what is not glass."""
    sampled = np.flatnonzero(top > 0.1)[::4]
    if not len(sampled):
        return 0.0, 0.0, 0.0
    red, green, blue = (_median(channel) for channel in densities_at(colours, sampled))
    return red, green, blue


def _above(colours: Planes, base: tuple[float, float, float]) -> Planes:
    """How far each channel lies above a base; 0 where it does not."""
    red, green, blue = (np.maximum(one - low, 0) for one, low in zip(colours, base, strict=True))
    return red, green, blue


def _median(values: np.ndarray) -> float:
    """NumPy's, of finite values: several times faster, as it looks for no NaN."""
    middle = ((len(values) - 1) // 2, len(values) // 2)
    ordered = np.partition(values, middle)
    return float((ordered[middle[0]] + ordered[middle[1]]) / 2)


def _placed(values: np.ndarray, where: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape[0] * shape[1], bool)
    mask[where] = values
    return mask.reshape(shape)


def _green(red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float) -> np.ndarray:
    return (red > least) & (red - green > 0.5 * least) & (blue > green - 0.25 * red)


def _green_perhaps(
    red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float
) -> np.ndarray:
    return (red > 0.2 * least) & (red > 1.1 * green) & (blue > green - 0.25 * red)


def _blue(red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float) -> np.ndarray:
    return (red > 1.2 * least) & (red > 1.35 * green) & (red > 1.8 * blue)


def _blue_perhaps(red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float) -> np.ndarray:
    pale = (red > 0.4 * least) & (red > 1.15 * green) & (red > 1.4 * blue)
    return pale | ((red > 1.7 * least) & (red > 0.85 * green) & (red > 1.6 * blue))  # over tissue


def _red(red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float) -> np.ndarray:
    pinkish = (blue > 0.68 * green) & (blue < 0.9 * green)  # blood is more orange
    beyond = blue - red
    return (red < 0.3 * green) & (pinkish & (beyond > 1.2 * least) | (beyond > 2.5 * least))


def _red_perhaps(red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float) -> np.ndarray:
    return (red < 0.42 * green) & (blue - red > 0.35 * least) & (blue > 0.62 * green)


def _black(red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float) -> np.ndarray:
    low = smallest((red, green, blue))
    return (low > 1.4 * least) & (low > 0.62 * largest((red, green, blue)))


def _black_perhaps(
    red: np.ndarray, green: np.ndarray, blue: np.ndarray, least: float
) -> np.ndarray:
    low = smallest((red, green, blue))
    return (low > 0.9 * least) & (low > 0.55 * largest((red, green, blue)))


INKS: dict[str, tuple[Hue, Hue]] = {
    "green": (_green, _green_perhaps),
    "blue": (_blue, _blue_perhaps),
    "red": (_red, _red_perhaps),
    "black": (_black, _black_perhaps),
}
"""What is clearly an ink's hue, denser than ``least`` in some channel, and what may be."""
