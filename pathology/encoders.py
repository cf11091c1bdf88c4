"""The registry of tile encoders."""

from typing import Literal

from pydantic import Field

from pathology.tile_encoders.contract import TileEncoder as TileEncoder
from preprocessing.settings import Settings


class EncoderSettings(Settings):
    """Which encoder makes the tile features."""

    name: Literal["structure_baseline"] = Field(
        default="structure_baseline", description="Encoder; the baseline needs no weights"
    )
    tile_px: int = Field(default=224, ge=32, le=2048, description="Side of a tile, px")
    mpp: float = Field(default=0.5, gt=0.05, lt=20, description="um per px of the tiles")


def load_encoder(settings: EncoderSettings) -> TileEncoder:
    """Return the encoder that the settings name."""
    from pathology.tile_encoders.structure import StructureBaseline

    return StructureBaseline(settings.tile_px, settings.mpp)
