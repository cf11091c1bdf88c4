"""Foundation models by name, any network of timm, or a folder as a model's makers publish it.

Weights are not bundled and not fetched behind the user's back: a folder is read as it is, a name
only where the user allows downloads. A folder's own configuration decides about the architecture,
the tile side and the normalisation; none of its code is run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.pathology.tile_encoders.models import MODELS, FoundationModel, Pooling
from offsite.pathology.tile_encoders.names import FOLDER, TIMM
from offsite.pathology.tile_encoders.networks import NetworkEncoder
from offsite.pathology.tile_encoders.published import Built, read_json, unfit
from offsite.pathology.tile_encoders.timm_networks import timm_network
from offsite.pathology.tile_encoders.transformers_networks import transformers_network
from offsite.training.vision_packages import remedy_for, timm_package

VERSION = 2
"""Goes up when the same tile would give other features."""
_FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
_PICKLED = ("pytorch_model*.bin",)


def load_foundation(
    name: str,
    weights: str | Path | None,
    *,
    mpp: float,
    download: bool = False,
    pooling: Pooling = "auto",
    device: str = "auto",
    batch_size: int = 64,
    precision: str = "auto",
) -> NetworkEncoder:
    """Return a foundation model as an encoder.

    Parameters
    ----------
    name : str
        Key of ``MODELS``, ``timm:NAME`` or ``folder``.
    weights : path, optional
        Local copy of the model's repository (``config.json`` and its weights); of ``timm:NAME`` it
        may be a file of weights.
    mpp : float
        um per px of the tiles, for a model whose makers are not known by name.
    download : bool
        Whether the weights may be fetched from the hub; never without.
    pooling : str
        The vector that is read of the tokens; ``auto`` as the makers do.
    device, batch_size, precision
        As `offsite.pathology.tile_encoders.networks.NetworkEncoder` takes them.

    Raises
    ------
    InputError
        Code ``missing_package`` or ``encoder_weights``.
    """
    model = MODELS.get(name)
    place = _place(name, model, weights, download)
    built = _built(name, model, place)
    if model is not None:
        pooling = model.pooling if pooling == "auto" else pooling
        mpp = model.mpp
    return NetworkEncoder(
        f"{name}:{built.architecture}" if name == FOLDER else name,
        Pooled(built.network, pooling, built.prefix),
        tile_px=built.tile_px,
        mpp=mpp,
        mean=built.mean,
        std=built.std,
        device=device,
        batch_size=batch_size,
        precision=precision,
        licence="" if model is None else model.licence,
        facts={"version": VERSION, "pooling": pooling},
    )


class Pooled(nn.Module):
    """From pictures to one vector each.

    Parameters
    ----------
    network : nn.Module
        ``forward`` gives what its makers mean it to give; ``forward_features`` tokens (N x T x D).
    pooling : str
        ``auto`` takes ``forward``, and of tokens the class token, or their mean where there is none.
    prefix : int
        Tokens before the patch tokens.
    """

    def __init__(self, network: nn.Module, pooling: Pooling, prefix: int) -> None:
        super().__init__()
        self.network, self.pooling, self.prefix = network, pooling, prefix

    def forward(self, tiles: Tensor) -> Tensor:
        """Return N x D of N x 3 x P x P."""
        if self.pooling == "auto":
            output: Tensor = self.network(tiles)
            if output.ndim != 3:
                return output
            return output[:, 0] if self.prefix else output.mean(dim=1)
        tokens: Tensor = self.network.forward_features(tiles)  # type: ignore[operator]
        if tokens.ndim != 3 or (self.pooling != "mean" and not self.prefix):
            raise InputError(
                f"the network has no tokens that can be read as '{self.pooling}'",
                remedy="Leave encoder.pooling at auto",
                code="encoder_weights",
            )
        patches = tokens[:, self.prefix :].mean(dim=1)
        if self.pooling == "mean":
            return patches
        return tokens[:, 0] if self.pooling == "cls" else torch.cat([tokens[:, 0], patches], dim=1)


def _place(
    name: str, model: FoundationModel | None, weights: str | Path | None, download: bool
) -> Path:
    """Where the model lies on this machine."""
    if weights is not None:
        place = Path(weights)
        bare = name.startswith(TIMM) and place.is_file()
        if not bare and not (place / "config.json").is_file():
            raise InputError(
                "no config.json in the model's folder",
                file=place,
                remedy="Give a copy of the repository" + (f" {model.hub}" if model else ""),
                code="encoder_weights",
            )
        return place
    hub = model.hub if model else _hub_of(name) if download else ""
    if not download or not hub:
        about = f" ({model.hub}; licence: {model.licence})" if model else ""
        raise InputError(
            f"encoder '{name}' needs its weights{about}",
            remedy="Set encoder.weights to a local copy"
            + ("" if name == FOLDER else ", or encoder.download to true"),
            code="encoder_weights",
        )
    return _fetched(hub)


def _hub_of(name: str) -> str:
    if name == FOLDER:
        return ""
    configuration = timm_package().get_pretrained_cfg(name.removeprefix(TIMM))
    return (configuration and configuration.hf_hub_id) or ""


def _fetched(hub: str) -> Path:
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise InputError(
            "the package huggingface_hub is not installed",
            remedy=remedy_for("foundation"),
            code="missing_package",
        ) from error
    try:
        names = HfApi().list_repo_files(hub)
        safe = any(name.endswith(".safetensors") for name in names)
        wanted = [*_FILES, *(() if safe else _PICKLED)]
        return Path(snapshot_download(hub, allow_patterns=wanted))
    except Exception as error:  # the network, the hub and the licence each raise their own
        raise InputError(
            f"{hub} cannot be fetched ({type(error).__name__})",
            remedy="Accept its licence on the hub and log in (`hf auth login`), or set"
            " encoder.weights to a local copy",
            code="encoder_weights",
        ) from error


def _built(name: str, model: FoundationModel | None, place: Path) -> Built:
    stated: Mapping[str, Any] = read_json(place / "config.json") if place.is_dir() else {}
    package = "transformers" if "model_type" in stated else "timm"
    wanted = model.package if model else "timm" if name.startswith(TIMM) else package
    if wanted != package:
        raise unfit(place, f"this folder is one of {package}, encoder '{name}' one of {wanted}")
    if package == "transformers":
        return transformers_network(stated, place, model)
    return timm_network(name, stated, place, model)
