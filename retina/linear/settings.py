"""Settings of method `linear`."""

from typing import Self

from pydantic import Field, model_validator

from offsite.settings import Settings


class LinearSettings(Settings):
    """How a linear head on the frozen trunk is fitted."""

    copies: int = Field(
        default=3,
        ge=0,
        le=32,
        description="Altered copies of each training photograph that are read beside it: the first"
        " its mirror image, the others with another resolution, sharpness, contrast and colour",
    )
    site_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Exponent by which sites of many photographs weigh less: 0 each photograph"
        " alike, 1 each site alike",
    )
    penalties: tuple[float, ...] = Field(
        default=(0.1, 0.3, 1.0, 3.0),
        min_length=1,
        description="Penalties that are tried, from weak to strong",
    )
    slack: float = Field(
        default=0.03,
        ge=0,
        lt=1,
        description="The strongest penalty is taken whose error at left-out training patients is"
        " at most this share above the lowest",
    )
    folds: int = Field(
        default=4, ge=2, le=20, description="Parts of the training patients for that"
    )

    @model_validator(mode="after")
    def _from_weak_to_strong(self) -> Self:
        if min(self.penalties) <= 0 or sorted(set(self.penalties)) != list(self.penalties):
            raise ValueError("penalties are above 0 and rise")
        return self
