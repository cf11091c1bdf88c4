"""Stain augmentation for tiles: other staining days and scanners, at table-lookup speed.

HED jitter after Tellez et al. 2019 (Medical Image Analysis 58, 101544); random templates after
Shen et al. 2022 (RandStainNA, MICCAI). Random numbers come from the pipeline's own generator.
"""

from collections.abc import Sequence
from typing import Any

import albumentations
import numpy as np
from albumentations.core.transforms_interface import ImageOnlyTransform
from pydantic import Field

from offsite.preprocessing.stain import (
    DensityTransform,
    ReinhardFit,
    apply_lab_tables,
    reinhard_tables,
)
from offsite.settings import Settings

# Haematoxylin, eosin and a residual (Ruifrok & Johnston 2001), as unit rows.
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_UNMIX = np.linalg.inv(_STAINS)
_GLASS = np.array([255.0, 255.0, 255.0])


class StainStatistics(Settings):
    """How the colour statistics of slides vary over a cohort (CIE Lab, 8-bit scale).

    Fitted on training slides only; a template is drawn from it for each tile.
    """

    mean_mean: tuple[float, float, float] = Field(description="Mean of the slides' means.")
    mean_deviation: tuple[float, float, float] = Field(description="Their standard deviation.")
    deviation_mean: tuple[float, float, float] = Field(
        description="Mean of the slides' standard deviations."
    )
    deviation_deviation: tuple[float, float, float] = Field(description="Their standard deviation.")


def fit_statistics(fits: Sequence[ReinhardFit]) -> StainStatistics:
    """Statistics over the fits of training slides (those that failed are left out)."""
    used = [fit for fit in fits if not fit.identity]
    if not used:
        raise ValueError("no slide has usable colour statistics")
    means = np.array([fit.mean for fit in used])
    deviations = np.array([fit.deviation for fit in used])
    rows = (means.mean(0), means.std(0), deviations.mean(0), deviations.std(0))
    return StainStatistics(
        **dict(
            zip(StainStatistics.model_fields, (tuple(map(float, row)) for row in rows), strict=True)
        )
    )


class HEDJitter(ImageOnlyTransform):
    """Scale and shift haematoxylin, eosin and the residual, each by its own random amount.

    Unmixing, jitter and mixing are one affine map of optical densities:
    ``density' = density @ U diag(a) S + b @ S`` with the stain rows ``S``, ``U = inverse(S)``,
    ``a ~ U(1 - s, 1 + s)`` and ``b ~ U(-s, s) * 0.1`` (densities to base 10).

    Parameters
    ----------
    strength : float
        ``s``; 0.05 is light, 0.2 strong in Tellez et al.
    """

    def __init__(self, strength: float = 0.1, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        """Draw the factors and shifts of one tile."""
        return {
            "factors": 1 + self.random_generator.uniform(-self.strength, self.strength, 3),
            "shifts": 0.1 * self.random_generator.uniform(-self.strength, self.strength, 3),
        }

    def apply(
        self, img: np.ndarray, factors: np.ndarray, shifts: np.ndarray, **_: Any
    ) -> np.ndarray:
        """Jitter one tile (H x W x 3, uint8, RGB)."""
        matrix = _UNMIX @ np.diag(factors) @ _STAINS
        return DensityTransform(matrix, shifts @ _STAINS, _GLASS, _GLASS)(img)


class RandomTemplate(ImageOnlyTransform):
    """Give a tile the colour statistics of a slide that the cohort might have held.

    Parameters
    ----------
    statistics : StainStatistics
        Of the training slides.
    spread : float
        Widens (above 1) or narrows the variation of the templates.
    """

    def __init__(self, statistics: StainStatistics, spread: float = 1.0, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.statistics = statistics
        self.spread = spread

    def get_params(self) -> dict[str, Any]:
        """Draw a template."""
        known, draw = self.statistics, self.random_generator.normal
        mean = draw(known.mean_mean, np.multiply(known.mean_deviation, self.spread))
        deviation = draw(known.deviation_mean, np.multiply(known.deviation_deviation, self.spread))
        return {"mean": mean, "deviation": np.maximum(deviation, 1.0)}

    def apply(
        self, img: np.ndarray, mean: np.ndarray, deviation: np.ndarray, **_: Any
    ) -> np.ndarray:
        """Recolour one tile (H x W x 3, uint8, RGB) from the cohort's mean slide to the template.

        The map starts from the cohort's statistics and not from the tile's own, so that a tile
        of pale stroma does not become dark.
        """
        known = self.statistics
        source = ReinhardFit(mean=known.mean_mean, deviation=known.deviation_mean)
        target = ReinhardFit(mean=tuple(mean), deviation=tuple(deviation))
        tables = reinhard_tables(source, target)
        assert tables is not None
        return apply_lab_tables(img, tables)


class StainAugmentationSettings(Settings):
    """Which stain augmentation, and how strong."""

    hed: float = Field(default=0.1, ge=0, le=0.5, description="Strength of the HED jitter; 0 off.")
    hed_probability: float = Field(default=0.5, ge=0, le=1, description="Share of tiles jittered.")
    template_probability: float = Field(
        default=0.5, ge=0, le=1, description="Share of tiles given a random template."
    )
    template_spread: float = Field(default=1.0, ge=0, description="Width of the templates' spread.")
    seed: int = Field(default=0, ge=0, description="Seed of the pipeline.")


def stain_augmentation(
    settings: StainAugmentationSettings, statistics: StainStatistics | None = None
) -> albumentations.Compose:
    """The pipeline: call it with ``image=`` (H x W x 3, uint8), take ``["image"]``.

    Without ``statistics`` there are no random templates.
    """
    steps: list[ImageOnlyTransform] = []
    if settings.hed:
        steps.append(HEDJitter(settings.hed, p=settings.hed_probability))
    if statistics is not None:
        steps.append(
            RandomTemplate(statistics, settings.template_spread, p=settings.template_probability)
        )
    return albumentations.Compose(steps, seed=settings.seed)
