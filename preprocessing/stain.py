"""How a slide is stained, and how to bring it to another slide's stain.

Macenko et al. 2009 (ISBI) for the stain vectors, Reinhard et al. 2001 (IEEE CG&A) for colour
statistics. Both are fitted once per slide on pooled tissue; where a fit is not to be trusted the
identity is used, and said so.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import Field

from offsite.preprocessing.slides.density import (
    densities_at,
    density_planes,
    density_table,
    smallest,
)
from offsite.settings import Settings

_LOG10 = float(np.log(10))
MIN_PIXELS = 500
MIN_ANGLE_DEGREES = 8.0


class MacenkoFit(Settings):
    """Stain of a slide; ``identity`` where it could not be fitted."""

    haematoxylin: tuple[float, float, float] = Field(description="Unit optical density in R, G, B.")
    eosin: tuple[float, float, float] = Field(description="Unit optical density in R, G, B.")
    strength: tuple[float, float] = Field(description="99th percentile of both concentrations.")
    white: tuple[float, float, float] = Field(description="Grey values of the glass.")
    identity: bool = Field(
        default=False, description="Not to be trusted: leave the slide as it is."
    )
    reason: str = Field(default="", description="Why not.")


class ReinhardFit(Settings):
    """Mean and standard deviation of tissue in CIE Lab (8-bit scale)."""

    mean: tuple[float, float, float] = Field(description="Means of L, a, b.")
    deviation: tuple[float, float, float] = Field(description="Standard deviations of L, a, b.")
    identity: bool = Field(
        default=False, description="Not to be trusted: leave the slide as it is."
    )
    reason: str = Field(default="", description="Why not.")


REFERENCE = MacenkoFit(
    haematoxylin=(0.651, 0.701, 0.290),
    eosin=(0.105, 0.930, 0.352),
    strength=(0.75, 0.75),
    white=(243.0, 243.0, 243.0),
)
"""A common stain to normalise to: haematoxylin of Ruifrok & Johnston 2001, a usual eosin."""


def fit_macenko(
    pixels: np.ndarray, white: np.ndarray, *, density_floor: float = 0.065, tail: float = 1.0
) -> MacenkoFit:
    """Fit the two stain vectors of a slide.

    Parameters
    ----------
    pixels : numpy.ndarray
        N x 3, uint8: pooled tissue pixels.
    white : numpy.ndarray
        Grey values of the glass.
    density_floor : float
        Pixels with less optical density (base 10) in some channel take no part; the paper's
        0.15 to base e.
    tail : float
        Percentile of the angles, at both ends, that gives the vectors.
    """
    if not len(pixels):
        return _no_macenko(white, "there are no tissue pixels")
    used = _densities(pixels, white, density_floor)
    if used.shape[1] < MIN_PIXELS:
        return _no_macenko(white, f"{used.shape[1]} stained pixels are fewer than {MIN_PIXELS}")
    _, directions = np.linalg.eigh(np.cov(used))
    plane = directions[:, [2, 1]] * np.sign(directions[:, [2, 1]].sum(axis=0) + 1e-12)
    first, second = plane.T @ used
    angles = np.arctan2(second, first)
    low, high = np.percentile(angles, [tail, 100 - tail])
    vectors = np.stack([plane @ [np.cos(angle), np.sin(angle)] for angle in (low, high)])
    if (vectors.sum(axis=1) <= 0).any() or (vectors < -0.05).any():
        return _no_macenko(white, "the stain vectors are not absorbing in every channel")
    vectors = np.maximum(vectors, 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip(vectors[0] @ vectors[1], -1, 1)))
    if angle < MIN_ANGLE_DEGREES:
        return _no_macenko(white, f"the two stains are only {angle:.1f} degrees apart")
    vectors = vectors[np.argsort(-vectors[:, 0])]  # haematoxylin absorbs more red
    strength = np.percentile(np.linalg.pinv(vectors).T @ used, 99, axis=1)
    if (strength <= 0).any():
        return _no_macenko(white, "a stain has no strength")
    return MacenkoFit(
        haematoxylin=_triple(vectors[0]),
        eosin=_triple(vectors[1]),
        strength=(float(strength[0]), float(strength[1])),
        white=_triple(white),
    )


def fit_reinhard(pixels: np.ndarray) -> ReinhardFit:
    """Colour statistics of pooled tissue pixels (N x 3, uint8)."""
    if len(pixels) < MIN_PIXELS:
        reason = f"{len(pixels)} tissue pixels are fewer than {MIN_PIXELS}"
        return ReinhardFit(mean=(0, 0, 0), deviation=(1, 1, 1), identity=True, reason=reason)
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(pixels.reshape(1, -1, 3), cv2.COLOR_RGB2LAB))
    fit = ReinhardFit(mean=_triple(mean.ravel()), deviation=_triple(deviation.ravel()))
    if fit.deviation[0] < 1.0:
        return fit.model_copy(update={"identity": True, "reason": "the tissue has no contrast"})
    return fit


@dataclass(frozen=True)
class DensityTransform:
    """A map of optical densities: ``density @ matrix + shift``, at table speed.

    Attributes
    ----------
    matrix : numpy.ndarray
        3 x 3, applied to row vectors (R, G, B).
    shift : numpy.ndarray
        3.
    white_in, white_out : numpy.ndarray
        Grey values of the glass before and after.
    """

    matrix: np.ndarray
    shift: np.ndarray
    white_in: np.ndarray
    white_out: np.ndarray

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Apply to an image (H x W x 3, uint8)."""
        table = density_table(self.white_in)
        densities = cv2.LUT(pixels, table)
        affine = np.column_stack([self.matrix.T, self.shift]) * -_LOG10
        affine[:, 3] += np.log(self.white_out)
        light = cv2.exp(cv2.transform(densities, affine.astype(np.float32)))
        return cv2.convertScaleAbs(light)


def macenko_transform(source: MacenkoFit, target: MacenkoFit) -> DensityTransform | None:
    """The map that gives a slide the target's stain; None (leave as is) if either fit failed."""
    if source.identity or target.identity:
        return None
    have = np.array([source.haematoxylin, source.eosin])
    want = np.array([target.haematoxylin, target.eosin])
    scale = np.diag(np.array(target.strength) / np.array(source.strength))
    return DensityTransform(
        matrix=np.linalg.pinv(have) @ scale @ want,
        shift=np.zeros(3),
        white_in=np.array(source.white),
        white_out=np.array(target.white),
    )


def reinhard_tables(source: ReinhardFit, target: ReinhardFit) -> np.ndarray | None:
    """Tables (1 x 256 x 3, uint8) for L, a, b that move statistics; None if a fit failed."""
    if source.identity or target.identity:
        return None
    values = np.arange(256, dtype=float)[:, None]
    scale = np.array(target.deviation) / np.maximum(source.deviation, 1e-3)
    moved = (values - np.array(source.mean)) * scale + np.array(target.mean)
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)[None]


def apply_lab_tables(pixels: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Apply tables of ``reinhard_tables`` to an image (H x W x 3, uint8, RGB)."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    return cv2.cvtColor(cv2.LUT(lab, tables), cv2.COLOR_LAB2RGB)


def _densities(pixels: np.ndarray, white: np.ndarray, floor: float) -> np.ndarray:
    """Optical density (3 x M, float64) of the pixels of which every channel is above ``floor``."""
    density = density_planes(pixels.reshape(1, -1, 3), white)
    used = densities_at(density, np.flatnonzero(smallest(density) > floor))
    return np.stack(used).astype(float)


def _no_macenko(white: np.ndarray, reason: str) -> MacenkoFit:
    return REFERENCE.model_copy(
        update={"white": _triple(white), "identity": True, "reason": reason}
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
