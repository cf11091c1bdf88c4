"""The registry of tile encoders."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from offsite.errors import InputError
from offsite.pathology.tile_encoders.contract import TileEncoder as TileEncoder
from offsite.settings import Settings

EncoderName = Literal[
    "structure_baseline",
    "colour_baseline",
    "efficientnet-lite0",
    "efficientnet-lite0+structure",
    "resnet18",
    "resnet50",
    "densenet121",
    "efficientnet-b0",
    "uni",
    "virchow2",
    "phikon",
    "phikon_v2",
]
_MONAI = ("resnet18", "resnet50", "densenet121", "efficientnet-b0")


class EncoderSettings(Settings):
    """Which encoder makes the tile features."""

    name: EncoderName = Field(
        default="efficientnet-lite0",
        description="Encoder; efficientnet-lite0 has its weights in the box, the baselines need none",
    )
    statistics: Literal["all", "late", "last"] = Field(
        default="all", description="Stages of efficientnet-lite0 that are read"
    )
    read_px: int | None = Field(
        default=None,
        ge=32,
        le=2048,
        description="Side at which efficientnet-lite0 sees a tile, px; none: as it is cut",
    )
    tile_px: int = Field(
        default=224,
        ge=32,
        le=2048,
        description="Side of a tile, px (foundation models set theirs)",
    )
    mpp: float = Field(
        default=0.5,
        gt=0.05,
        lt=20,
        description="um per px of the tiles (foundation models set theirs)",
    )
    weights: str | None = Field(
        default=None,
        description="File of a network's weights (.safetensors, .pt; of efficientnet-lite0 in place"
        " of those in the box), or a foundation model's folder",
    )
    download: bool = Field(
        default=False, description="Whether a foundation model may be fetched from its hub"
    )
    device: str = Field(default="auto", description="auto, cpu or cuda")
    batch_size: int = Field(
        default=64, ge=1, description="Tiles at once; halved if memory is short"
    )


def load_encoder(settings: EncoderSettings) -> TileEncoder:
    """Return the encoder that the settings name.

    Raises
    ------
    InputError
        Code ``encoder_weights``, ``trunk_weights`` (absent, damaged or of another network),
        ``trunk_changed`` or ``missing_package``.
    """
    if settings.name == "structure_baseline":
        from offsite.pathology.tile_encoders.structure import StructureBaseline

        return StructureBaseline(settings.tile_px, settings.mpp)
    if settings.name == "colour_baseline":
        from offsite.pathology.tile_encoders.colour import ColourBaseline

        return ColourBaseline(settings.tile_px, settings.mpp)
    if settings.name.startswith("efficientnet-lite0"):
        return _trunk_encoder(settings)
    if settings.name not in _MONAI:
        from offsite.pathology.tile_encoders.foundation import load_foundation

        return load_foundation(
            settings.name,
            settings.weights,
            settings.download,
            settings.device,
            settings.batch_size,
        )
    return _monai_encoder(settings)


def _trunk_encoder(settings: EncoderSettings) -> TileEncoder:
    from offsite.pathology.tile_encoders.structure import StructureBaseline
    from offsite.pathology.tile_encoders.trunk import JoinedEncoder, TrunkEncoder
    from offsite.training.trunk.settings import TrunkReadingSettings

    trunk = TrunkEncoder(
        TrunkReadingSettings(stages=settings.statistics),
        tile_px=settings.tile_px,
        mpp=settings.mpp,
        read_px=settings.read_px,
        weights=settings.weights,
        device=settings.device,
    )
    if settings.name == trunk.name:
        return trunk
    return JoinedEncoder(trunk, StructureBaseline(settings.tile_px, settings.mpp))


def _monai_encoder(settings: EncoderSettings) -> TileEncoder:
    from offsite.pathology.tile_encoders.networks import NetworkEncoder, load_state, monai_network

    if settings.weights is None:
        raise InputError(
            f"encoder '{settings.name}' needs weights: untrained ones would give noise",
            remedy="Set encoder.weights to a .safetensors or .pt file",
            code="encoder_weights",
        )
    path = Path(settings.weights)
    return NetworkEncoder(
        settings.name,
        monai_network(settings.name, load_state(path), path),
        tile_px=settings.tile_px,
        mpp=settings.mpp,
        device=settings.device,
        batch_size=settings.batch_size,
    )
