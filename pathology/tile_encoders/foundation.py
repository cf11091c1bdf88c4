"""Foundation models by name or local folder, through the optional packages timm or transformers.

Weights are not bundled and not fetched behind the user's back: a folder is read as it is, a name
only where the user allows downloads. Each entry says what the makers ask for.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.pathology.tile_encoders.networks import IMAGENET_MEAN, IMAGENET_STD, NetworkEncoder


@dataclass(frozen=True)
class FoundationModel:
    """Where a model comes from and how it is used.

    Attributes
    ----------
    package : str
        ``timm`` or ``transformers``.
    hub : str
        Name on the Hugging Face hub.
    tile_px, mpp
        What it was trained on (px, um per px), as its makers say.
    licence : str
        Licence of the weights.
    pooling : str
        ``cls``: the class token; ``cls_mean``: joined with the mean of the patch tokens.
    prefix_tokens : int
        Tokens before the patch tokens (class and registers).
    """

    package: str
    hub: str
    tile_px: int
    mpp: float
    licence: str
    pooling: str = "cls"
    prefix_tokens: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


_SWIGLU = {"mlp_ratio": 5.33334, "reg_tokens": 4}
MODELS: dict[str, FoundationModel] = {
    "uni": FoundationModel(
        "timm",
        "MahmoodLab/UNI",
        224,
        0.5,
        "CC-BY-NC-ND 4.0, gated",
        options={"init_values": 1e-5, "dynamic_img_size": True},
    ),
    "virchow2": FoundationModel(
        "timm",
        "paige-ai/Virchow2",
        224,
        0.5,
        "CC-BY-NC-ND 4.0, gated",
        "cls_mean",
        5,
        options=_SWIGLU,
    ),
    "phikon": FoundationModel("transformers", "owkin/phikon", 224, 0.5, "Owkin non-commercial"),
    "phikon_v2": FoundationModel(
        "transformers", "owkin/phikon-v2", 224, 0.5, "Owkin non-commercial"
    ),
}


def load_foundation(
    name: str, folder: str | Path | None, download: bool, device: str, batch_size: int
) -> NetworkEncoder:
    """Return a foundation model as an encoder.

    Parameters
    ----------
    name : str
        Key of ``MODELS``.
    folder : path, optional
        Local copy of the model's repository (``config.json`` and its weights).
    download : bool
        Whether the weights may be fetched from the hub; never without.

    Raises
    ------
    InputError
        Code ``missing_package`` or ``encoder_weights``.
    """
    model = MODELS[name]
    if folder is None and not download:
        raise InputError(
            f"encoder '{name}' needs its weights ({model.hub}; licence: {model.licence})",
            remedy="Set encoder.weights to a local copy, or encoder.download to true",
            code="encoder_weights",
        )
    if folder is not None and not (Path(folder) / "config.json").is_file():
        raise InputError(
            "no config.json in the model's folder",
            file=folder,
            remedy=f"Give a copy of the repository {model.hub}",
            code="encoder_weights",
        )
    build = _timm if model.package == "timm" else _transformers
    network = _Tokens(build(model, None if folder is None else Path(folder)), model)
    return NetworkEncoder(
        name,
        network,
        tile_px=model.tile_px,
        mpp=model.mpp,
        mean=model.mean,
        std=model.std,
        device=device,
        batch_size=batch_size,
        licence=model.licence,
    )


def _timm(model: FoundationModel, folder: Path | None) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise _missing("timm", "timm") from error
    source = f"local-dir:{folder}" if folder else f"hf-hub:{model.hub}"
    options = dict(model.options)
    if model.pooling == "cls_mean":
        options |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU}
    network = timm.create_model(source, pretrained=True, num_classes=0, **options)
    network.forward = network.forward_features
    return network


def _transformers(model: FoundationModel, folder: Path | None) -> nn.Module:
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise _missing("transformers", "transformers") from error
    network = AutoModel.from_pretrained(
        folder or model.hub,
        local_files_only=folder is not None,
        trust_remote_code=False,
        use_safetensors=True,
    )
    return _LastHidden(network)


class _LastHidden(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: Tensor) -> Tensor:
        hidden: Tensor = self.network(pixel_values=tiles).last_hidden_state
        return hidden


class _Tokens(nn.Module):
    """From tokens (N x T x D) to one vector."""

    def __init__(self, network: nn.Module, model: FoundationModel) -> None:
        super().__init__()
        self.network = network
        self.join, self.prefix = model.pooling == "cls_mean", model.prefix_tokens

    def forward(self, tiles: Tensor) -> Tensor:
        tokens: Tensor = self.network(tiles)
        if tokens.ndim == 2:
            return tokens
        if not self.join:
            return tokens[:, 0]
        return torch.cat([tokens[:, 0], tokens[:, self.prefix :].mean(dim=1)], dim=1)


def _missing(package: str, extra: str) -> InputError:
    return InputError(
        f"this encoder needs the package {package}",
        remedy=f"Install it with: pip install {extra}",
        code="missing_package",
    )
