"""Settings of prediction sets."""

from pydantic import Field

from offsite.settings import Settings


class ConformalSettings(Settings):
    """How prediction sets are calibrated."""

    levels: tuple[float, ...] = Field(
        default=(0.9, 0.95), min_length=1, description="Wanted coverages (0..1) of the table"
    )
    ordered: bool = Field(
        default=False, description="Whether classes are grades in order: sets are then contiguous"
    )
    by_class: bool = Field(default=True, description="A threshold for each class of its own")
    by_site: bool = Field(
        default=True, description="A threshold for each site of its own where it has the rows"
    )
    minimum_bin: int = Field(
        default=50, ge=1, description="Fewest calibration rows of a site's own bin; else its parent"
    )
    weighted: bool = Field(
        default=True, description="Also sets weighted by a domain classifier for held-out sites"
    )
    weight_limit: float = Field(
        default=20.0, gt=1, description="Largest density ratio, and one over the smallest"
    )
    folds: int = Field(default=5, ge=2, description="Patient-grouped folds of that classifier")
    seed: int = Field(default=0, ge=0, description="Seed of the folds")
