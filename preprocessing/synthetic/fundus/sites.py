"""The invented eye clinics of the synthetic cohort: camera, patients and grader of each."""

from typing import Literal

from pydantic import Field

from offsite.preprocessing.fundus.grades import GRADES as GRADES
from offsite.settings import Settings

EVEN_PREVALENCE = (0.36, 0.16, 0.22, 0.13, 0.13)
"""Share of each grade where the sites do not differ in prevalence."""

Triple = tuple[float, float, float]


class CameraProfile(Settings):
    """How a camera turns a retina into a picture. The neutral camera changes nothing."""

    tint: Triple = Field(default=(1.0, 1.0, 1.0), description="Gain of red, green, blue")
    saturation: float = Field(
        default=1.0, ge=0, description="Colour saturation; 1 = as the retina is"
    )
    gamma: float = Field(default=1.0, gt=0, description="Exponent on light in [0, 1]")
    contrast: float = Field(default=1.0, gt=0, description="Gain about the mean of the picture")
    brightness: float = Field(default=0.0, description="Light added, in [-1, 1]")
    vignette: float = Field(default=0.25, ge=0, le=1, description="Loss of light at the rim, share")
    tilt: float = Field(
        default=0.0, ge=0, le=1, description="Loss of light from one side to the other"
    )
    haze: float = Field(
        default=0.0, ge=0, le=1, description="Veil of a cloudy lens, share of the light"
    )
    blur: float = Field(
        default=0.0, ge=0, description="Blur, sd in thousandths of the field's diameter"
    )
    noise: float = Field(default=0.008, ge=0, description="Sensor noise, sd in light of [0, 1]")
    background: float = Field(
        default=0.0, ge=0, le=0.3, description="Light outside the field of view"
    )
    frame: Literal["square", "landscape", "portrait", "cut"] = Field(
        default="square", description="Shape of the picture; 'cut' loses the field's top and bottom"
    )
    notch: bool = Field(default=False, description="A notch at the rim marks the orientation")
    text: bool = Field(default=False, description="A line of text is burnt into a corner")
    jpeg_quality: int = Field(default=92, ge=1, le=100, description="JPEG quality, 1 to 100")


class ClinicProfile(Settings):
    """A clinic: its camera, whom it sees, and how its grader grades."""

    name: str = Field(description="Site name")
    camera: CameraProfile = Field(default=CameraProfile(), description="The camera")
    prevalence: tuple[float, float, float, float, float] = Field(
        default=EVEN_PREVALENCE, description="Relative frequency of the five grades"
    )
    undergrades: float = Field(
        default=0.0, ge=0, le=1, description="Chance that a grade is one too low"
    )
    overgrades: float = Field(
        default=0.0, ge=0, le=1, description="Chance that a grade is one too high"
    )


CLINICS = (
    ClinicProfile(
        name="ashford",
        camera=CameraProfile(gamma=1.0, vignette=0.25, notch=True, jpeg_quality=94),
        prevalence=(0.50, 0.14, 0.18, 0.09, 0.09),
    ),
    ClinicProfile(
        name="brightwater",
        camera=CameraProfile(
            tint=(1.05, 1.0, 0.72),
            saturation=1.25,
            gamma=0.85,
            vignette=0.4,
            frame="landscape",
            jpeg_quality=86,
        ),
        prevalence=(0.28, 0.20, 0.28, 0.12, 0.12),
        undergrades=0.15,
    ),
    ClinicProfile(
        name="corran",
        camera=CameraProfile(
            tint=(0.92, 0.95, 1.1),
            saturation=0.75,
            gamma=1.2,
            contrast=0.85,
            vignette=0.15,
            background=0.03,
            frame="cut",
            blur=2.0,
            jpeg_quality=80,
        ),
        prevalence=(0.20, 0.14, 0.30, 0.18, 0.18),
        overgrades=0.15,
    ),
    ClinicProfile(
        name="dunmore",
        camera=CameraProfile(
            tint=(0.95, 1.06, 0.9),
            gamma=1.1,
            contrast=1.15,
            brightness=-0.04,
            vignette=0.5,
            tilt=0.25,
            noise=0.018,
            text=True,
            jpeg_quality=90,
        ),
        prevalence=(0.42, 0.22, 0.18, 0.10, 0.08),
        undergrades=0.10,
        overgrades=0.05,
    ),
    ClinicProfile(
        name="eastvale",
        camera=CameraProfile(
            tint=(0.82, 1.0, 1.18),
            saturation=0.6,
            gamma=0.8,
            contrast=0.7,
            brightness=0.05,
            haze=0.18,
            vignette=0.3,
            blur=3.0,
            noise=0.014,
            frame="portrait",
            jpeg_quality=72,
        ),
        prevalence=(0.18, 0.10, 0.26, 0.22, 0.24),
        undergrades=0.30,
    ),
)
"""Five clinics. ``eastvale`` is the odd one: a hand-held camera, a late-stage population."""
