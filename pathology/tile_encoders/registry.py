"""The registry of tile encoders."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from offsite.errors import InputError
from offsite.pathology.tile_encoders.contract import TileEncoder as TileEncoder
from offsite.pathology.tile_encoders.models import MODELS, Pooling
from offsite.pathology.tile_encoders.names import (
    FOLDER,
    IN_THE_BOX,
    MONAI,
    OWN,
    TIMM,
    brought,
    check_encoder_name,
)
from offsite.settings import Settings


def _known(name: str) -> str:
    try:
        check_encoder_name(name)
    except InputError as error:
        raise ValueError(f"{error.problem}. {error.remedy}") from error
    return name


EncoderName = Annotated[
    str,
    AfterValidator(_known),
    Field(json_schema_extra={"examples": [*OWN, f"{TIMM}vit_small_patch16_224"]}),
]


class EncoderSettings(Settings):
    """Which encoder makes the tile features."""

    name: EncoderName = Field(
        default="efficientnet-lite0",
        description="Encoder, by name; timm:NAME is any network of timm, folder a model as its makers"
        " publish it. efficientnet-lite0 has its weights in the box, the baselines need none",
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
        description="Side of a tile, px; a foundation model brings it to the side that it reads",
    )
    mpp: float = Field(
        default=0.5,
        gt=0.05,
        lt=20,
        description="um per px of the tiles; foundation models known by name have theirs",
    )
    weights: str | None = Field(
        default=None,
        description="File of a network's weights (.safetensors, .pt; of efficientnet-lite0 in place"
        " of those in the box), or a foundation model's folder",
    )
    download: bool = Field(
        default=False, description="Whether a foundation model may be fetched from its hub"
    )
    pooling: Pooling = Field(
        default="auto",
        description="What of a foundation model's tokens is read: the class token (cls), the mean of"
        " the patches, both (cls_mean), or as its makers do (auto)",
    )
    device: str = Field(default="auto", description="auto, cpu or cuda")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto",
        description="In which a network computes; auto: float16 on a GPU (autocast, weights stay"
        " float32), float32 on a processor",
    )
    batch_size: int = Field(
        default=64, ge=1, description="Tiles at once; halved if memory is short"
    )


def load_encoder(settings: EncoderSettings) -> TileEncoder:
    """Return the encoder that the settings name.

    Raises
    ------
    InputError
        Code ``encoder_weights``, ``trunk_weights`` (absent, damaged or of another network),
        ``trunk_changed``, ``missing_package``, ``unknown_encoder`` (that of another package, which
        is not installed) or ``encoder_absent`` (it is, and cannot be loaded).
    """
    if settings.name == "structure_baseline":
        from offsite.pathology.tile_encoders.structure import StructureBaseline

        return StructureBaseline(settings.tile_px, settings.mpp)
    if settings.name == "colour_baseline":
        from offsite.pathology.tile_encoders.colour import ColourBaseline

        return ColourBaseline(settings.tile_px, settings.mpp)
    if settings.name in IN_THE_BOX:
        return _trunk_encoder(settings)
    if settings.name in MONAI:
        return _monai_encoder(settings)
    if (
        settings.name not in MODELS
        and settings.name != FOLDER
        and not settings.name.startswith(TIMM)
    ):
        return _brought_encoder(settings)
    from offsite.pathology.tile_encoders.foundation import load_foundation

    return load_foundation(
        settings.name,
        settings.weights,
        mpp=settings.mpp,
        download=settings.download,
        pooling=settings.pooling,
        device=settings.device,
        batch_size=settings.batch_size,
        precision=settings.precision,
    )


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
        precision=settings.precision,
    )


def _brought_encoder(settings: EncoderSettings) -> TileEncoder:
    """The encoder of another package: its entry point takes the settings and gives a `TileEncoder`."""
    check_encoder_name(settings.name)
    entry = brought()[settings.name]
    try:
        encoder = entry.load()(settings)
    except InputError:
        raise
    except Exception as error:  # whatever another package's code may raise
        raise _absent(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(encoder, TileEncoder):
        raise _absent(entry, f"it gives a {type(encoder).__name__}, no tile encoder")
    return encoder


def _absent(entry: EntryPoint, problem: str) -> InputError:
    return InputError(
        f"encoder '{entry.name}' of {entry.value} cannot be loaded ({problem})",
        remedy="Mend or update the package that brings it",
        code="encoder_absent",
    )
