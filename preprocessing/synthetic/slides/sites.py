"""How a hospital stains and scans: the nuisance that a model must not learn."""

from pydantic import Field

from offsite.settings import Settings

Vector = tuple[float, float, float]


class SiteProfile(Settings):
    """Stain, scanner and habits of a synthetic site."""

    name: str = Field(description="Name of the site.")
    scanner: str = Field(description="Name of the scanner, as its file would give it.")
    flavour: str = Field(default="aperio", description="File flavour: aperio or generic.")
    mpp: float = Field(default=0.5, gt=0.1, lt=2, description="um per px of the full resolution.")
    magnification: int = Field(default=20, gt=0, description="Nominal objective power.")
    haematoxylin: Vector = Field(
        default=(0.65, 0.70, 0.29), description="Optical density of unit haematoxylin in R, G, B."
    )
    eosin: Vector = Field(default=(0.08, 0.92, 0.32), description="Optical density of unit eosin.")
    gain_h: float = Field(default=1.0, gt=0, description="Strength of the haematoxylin.")
    gain_e: float = Field(default=1.0, gt=0, description="Strength of the eosin.")
    white: Vector = Field(
        default=(243, 242, 244), description="Grey values of empty glass (R, G, B)."
    )
    blur_um: float = Field(default=0.35, ge=0, description="Standard deviation of the optics, um.")
    noise: float = Field(
        default=1.5, ge=0, description="Standard deviation of sensor noise, grey values."
    )
    jpeg_quality: int = Field(default=85, ge=20, le=100, description="JPEG quality.")
    subsampling: str = Field(default="420", description="JPEG colour subsampling: 420, 422 or 444.")
    tile_px: int = Field(default=256, ge=64, description="Native tile size of the file, px.")
    prevalence: tuple[float, ...] = Field(
        default=(1.0, 1.0, 1.0), description="Factor on each class's share at this site."
    )
    pen_rate: float = Field(default=0.1, ge=0, le=1, description="Share of slides with pen marks.")
    fold_rate: float = Field(
        default=0.1, ge=0, le=1, description="Share of slides with a tissue fold."
    )
    blur_rate: float = Field(
        default=0.1, ge=0, le=1, description="Share of slides with a blurred patch."
    )


SITES = (
    SiteProfile(
        name="aster",
        scanner="AsterScan-20",
        mpp=0.499,
        tile_px=240,
        pen_rate=0.2,
    ),
    SiteProfile(
        name="birch",
        scanner="BirchView-X",
        flavour="generic",
        mpp=0.4545,
        haematoxylin=(0.56, 0.74, 0.37),
        eosin=(0.14, 0.90, 0.42),
        gain_h=1.2,
        gain_e=0.8,
        white=(236, 232, 238),
        blur_um=0.5,
        jpeg_quality=75,
        prevalence=(1.2, 0.8, 0.7),
        fold_rate=0.25,
    ),
    SiteProfile(
        name="cedar",
        scanner="CedarPath-2",
        mpp=0.345,
        magnification=40,
        haematoxylin=(0.73, 0.64, 0.24),
        eosin=(0.04, 0.90, 0.44),
        gain_h=0.85,
        gain_e=1.15,
        white=(247, 246, 241),
        blur_um=0.25,
        jpeg_quality=90,
        subsampling="444",
        prevalence=(0.8, 1.2, 1.3),
        blur_rate=0.25,
    ),
    SiteProfile(
        name="delta",
        scanner="DeltaSlide",
        flavour="generic",
        mpp=0.5021,
        tile_px=512,
        haematoxylin=(0.61, 0.66, 0.43),
        eosin=(0.20, 0.88, 0.44),
        gain_h=1.05,
        gain_e=1.05,
        white=(229, 228, 224),
        blur_um=0.6,
        jpeg_quality=70,
        prevalence=(1.0, 1.0, 1.0),
    ),
    SiteProfile(
        name="elm",
        scanner="ElmOptics-40",
        mpp=0.2635,
        magnification=40,
        haematoxylin=(0.50, 0.78, 0.37),
        eosin=(0.25, 0.84, 0.48),
        gain_h=0.95,
        gain_e=0.9,
        white=(240, 243, 248),
        blur_um=0.4,
        noise=2.2,
        jpeg_quality=80,
        prevalence=(0.9, 1.1, 1.2),
        pen_rate=0.25,
        fold_rate=0.2,
        blur_rate=0.2,
    ),
)
"""Five sites; ``elm`` (another stain, twice the resolution) makes the natural held-out site."""
