"""Settings of method `linear`."""

from pydantic import Field

from offsite.training.heads.ridge import RidgeSettings


class LinearSettings(RidgeSettings):
    """How a linear head on the frozen trunk is fitted."""

    copies: int = Field(
        default=3,
        ge=0,
        le=32,
        description="Altered copies of each training photograph that are read beside it: the first"
        " its mirror image, the others with another resolution, sharpness, contrast and colour",
    )
