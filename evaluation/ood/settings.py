"""The detectors by name, and the settings of the out-of-distribution table."""

from typing import Any

from pydantic import Field, field_validator

from offsite.registry import Registry
from offsite.settings import Settings

DETECTORS: Registry[type[Any]] = Registry(
    "detector",
    {
        "mahalanobis": "offsite.evaluation.ood.gaussian_detectors:Mahalanobis",
        "relative_mahalanobis": "offsite.evaluation.ood.gaussian_detectors:RelativeMahalanobis",
        "residual": "offsite.evaluation.ood.gaussian_detectors:Residual",
        "vim": "offsite.evaluation.ood.gaussian_detectors:Vim",
        "knn": "offsite.evaluation.ood.neighbour_detectors:Knn",
        "nnguide": "offsite.evaluation.ood.neighbour_detectors:NNGuide",
        "msp": "offsite.evaluation.ood.logit_detectors:Msp",
        "max_logit": "offsite.evaluation.ood.logit_detectors:MaxLogit",
        "energy": "offsite.evaluation.ood.logit_detectors:Energy",
        "gen": "offsite.evaluation.ood.logit_detectors:Gen",
        "react": "offsite.evaluation.ood.logit_detectors:React",
        "she": "offsite.evaluation.ood.neighbour_detectors:She",
        "fdbd": "offsite.evaluation.ood.neighbour_detectors:Fdbd",
    },
)
"""Known and listed without the code that fits them."""
DEFAULT_DETECTORS = ("residual", "mahalanobis", "vim", "knn", "msp", "energy", "gen")


class OodSettings(Settings):
    """How detectors are fitted and compared."""

    detectors: tuple[str, ...] = Field(
        default=DEFAULT_DETECTORS, min_length=1, description="Names of the detectors to report"
    )
    kept: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Share (0.5..1) of in-distribution calibration rows under the frozen threshold",
    )
    bank_rows: int = Field(
        default=2000, ge=10, description="Rows of the thinned bank of nearest-neighbour scores"
    )
    neighbours: int = Field(
        default=50,
        ge=1,
        description="k of the neighbour score for a full bank; scaled with the thinning",
    )
    guide_neighbours: int = Field(default=10, ge=1, description="k of NNGuide")
    principal: int | None = Field(
        default=None,
        ge=1,
        description="Principal directions left out by residual and ViM; unset: 1,000 from 1,500 "
        "dimensions, 512 from 768, else half of them",
    )
    temperature: float = Field(default=1.0, gt=0, description="Temperature of the energy score")
    gen_power: float = Field(default=0.1, gt=0, le=1, description="Exponent gamma of GEN")
    react_quantile: float = Field(
        default=0.9, gt=0, lt=1, description="Quantile of training activations at which ReAct clips"
    )
    folds: int = Field(
        default=5,
        ge=2,
        description="Patient-grouped folds of cross-fitting where no validation rows exist",
    )
    resamples: int = Field(
        default=500, ge=50, description="Draws of the per-site tables that are used, at most"
    )
    minimum_rows: int = Field(
        default=10,
        ge=2,
        description="Fewest rows of a site (or of errors) for a metric to be given",
    )
    seed: int = Field(default=0, ge=0, description="Seed of thinning and folds")

    @field_validator("detectors")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in DETECTORS]
        if unknown:
            raise ValueError(f"unknown detectors {unknown}; known are {', '.join(DETECTORS)}")
        return names
