"""Foundation models by name: what their makers publish, as plain facts; nothing is imported here.

A model's own folder decides about its architecture, tile side and normalisation. What stands here is
what no folder says (scale, licence, which tokens are read), and what a folder may leave out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Pooling = Literal["auto", "cls", "mean", "cls_mean"]


@dataclass(frozen=True, kw_only=True)
class FoundationModel:
    """Where a model comes from and how it is used.

    Attributes
    ----------
    package : str
        ``timm`` or ``transformers``: what builds its network.
    hub : str
        Name on the Hugging Face hub.
    licence : str
        Of the weights, as the makers' page says, and whether they are given on request.
    dimensions : int
        D, numbers a tile.
    weights_million : int
        Weights of the network, millions.
    mpp : float
        um per px it was trained on, as its makers say.
    tile_px : int
        Side of the picture it reads, px, where its folder does not say.
    pooling : str
        The vector that its makers read: the class token (``cls``), joined with the mean of the patch
        tokens (``cls_mean``), or what the network itself gives (``auto``).
    options : mapping
        Of its architecture, where its folder leaves them out.
    mean, std : tuple of float
        Normalisation of R, G, B in [0, 1], where its folder does not say.
    """

    package: str
    hub: str
    licence: str
    dimensions: int
    weights_million: int
    mpp: float = 0.5
    tile_px: int = 224
    pooling: Pooling = "cls"
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


_NO_DERIVATIVES = "CC-BY-NC-ND 4.0, on request"
_LAYER_SCALE = {"init_values": 1e-5}
_OPTIMUS_MEAN, _OPTIMUS_STD = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
_UNI2 = {
    "patch_size": 14, "depth": 24, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 2.66667 * 2,
    "no_embed_class": True, "reg_tokens": 8, "dynamic_img_size": True, **_LAYER_SCALE,
}  # fmt: skip

MODELS: dict[str, FoundationModel] = {
    "uni": FoundationModel(
        package="timm",
        hub="MahmoodLab/UNI",
        licence=_NO_DERIVATIVES,
        dimensions=1024,
        weights_million=303,
        options={**_LAYER_SCALE, "dynamic_img_size": True},
    ),
    "uni2": FoundationModel(
        package="timm",
        hub="MahmoodLab/UNI2-h",
        licence=_NO_DERIVATIVES,
        dimensions=1536,
        weights_million=681,
        options=_UNI2,
    ),
    "virchow": FoundationModel(
        package="timm",
        hub="paige-ai/Virchow",
        licence="Apache 2.0, on request",
        dimensions=2560,
        weights_million=631,
        pooling="cls_mean",
    ),
    "virchow2": FoundationModel(
        package="timm",
        hub="paige-ai/Virchow2",
        licence=_NO_DERIVATIVES,
        dimensions=2560,
        weights_million=631,
        pooling="cls_mean",
    ),
    "h_optimus_0": FoundationModel(
        package="timm",
        hub="bioptimus/H-optimus-0",
        licence="Apache 2.0, on request",
        dimensions=1536,
        weights_million=1135,
        options=_LAYER_SCALE,
        mean=_OPTIMUS_MEAN,
        std=_OPTIMUS_STD,
    ),
    "h_optimus_1": FoundationModel(
        package="timm",
        hub="bioptimus/H-optimus-1",
        licence=_NO_DERIVATIVES,
        dimensions=1536,
        weights_million=1135,
        options=_LAYER_SCALE,
        mean=_OPTIMUS_MEAN,
        std=_OPTIMUS_STD,
    ),
    "h0_mini": FoundationModel(
        package="timm",
        hub="bioptimus/H0-mini",
        licence=_NO_DERIVATIVES,
        dimensions=768,
        weights_million=86,
        mean=_OPTIMUS_MEAN,
        std=_OPTIMUS_STD,
    ),
    "gigapath": FoundationModel(
        package="timm",
        hub="prov-gigapath/prov-gigapath",
        licence="Apache 2.0 for research, on request",
        dimensions=1536,
        weights_million=1135,
    ),
    "phikon": FoundationModel(
        package="transformers",
        hub="owkin/phikon",
        licence="Owkin non-commercial",
        dimensions=768,
        weights_million=86,
    ),
    "phikon_v2": FoundationModel(
        package="transformers",
        hub="owkin/phikon-v2",
        licence="Owkin non-commercial",
        dimensions=1024,
        weights_million=303,
    ),
}
