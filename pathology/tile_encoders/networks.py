"""Neural encoders: a network, its normalisation, and batches that fit the memory there is."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.pathology.tile_encoders.contract import check_pixels
from offsite.pathology.tile_encoders.models import IMAGENET_MEAN, IMAGENET_STD
from offsite.pathology.tile_encoders.weights import weights_digest

_LOG = logging.getLogger(__name__)
_HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class NetworkEncoder:
    """A network in eval mode as a tile encoder.

    Parameters
    ----------
    name : str
        Its name in the registry, with the variant.
    network : nn.Module
        Maps N x 3 x P x P (float32, normalised) to N x D, or to N x D x h x w, which is averaged.
    tile_px, mpp : int, float
        What the network was trained on; tiles of another side are resized.
    mean, std : sequence of float
        Normalisation of R, G, B in [0, 1].
    device : str
        ``auto`` takes a GPU where there is one.
    batch_size : int
        Tiles at once; halved, and kept so, where memory does not suffice.
    licence : str
        What the weights may be used for, as their makers say.
    precision : str
        ``float32``, or ``float16`` or ``bfloat16`` (autocast; weights stay float32); ``auto`` takes
        float16 on a GPU. Not in the digest: a model that was trained on features of a GPU reads
        those of a processor. Where float16 overflows, all is done in float32 from then on.
    facts : mapping
        What else changes the features, for the digest.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        tile_px: int,
        mpp: float,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        device: str = "auto",
        batch_size: int = 64,
        licence: str = "",
        precision: str = "auto",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.name, self.tile_px, self.mpp, self.licence = name, tile_px, mpp, licence
        self.batch_size, self.device = batch_size, torch.device(where)
        if precision == "auto":
            precision = "float16" if self.device.type == "cuda" else "float32"
        self._half = _HALF.get(precision)
        known = {"name": name, "tile_px": tile_px, "mpp": mpp, "mean": mean, "std": std}
        self.digest = weights_digest(network.state_dict(), known | dict(facts or {}))
        self.network = network.to(self.device).eval()
        # Bytes to normalised numbers in one product and one sum.
        self._factor = torch.tensor([1 / (255 * s) for s in std], device=self.device)
        self._shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], device=self.device
        )
        self.dimensions = self._run(np.zeros((1, tile_px, tile_px, 3), np.uint8)).shape[1]

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return features (float32, N x D) of tiles (uint8 RGB, N x P x P x 3)."""
        check_pixels(pixels)
        features, start = [np.empty((0, self.dimensions), np.float32)], 0
        while start < len(pixels):
            try:
                features.append(self._run(pixels[start : start + self.batch_size]))
                start += len(features[-1])
            except (torch.OutOfMemoryError, MemoryError):
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                _LOG.warning("memory is short: %s tiles at once from now on", self.batch_size)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
        return np.concatenate(features)

    @torch.inference_mode()
    def _run(self, pixels: np.ndarray) -> np.ndarray:
        tiles = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).float()
        tiles = (tiles * self._factor + self._shift).permute(0, 3, 1, 2)
        if tiles.shape[-1] != self.tile_px:
            size = (self.tile_px, self.tile_px)
            tiles = nn.functional.interpolate(tiles, size, mode="bilinear", antialias=True)
        output = self._forward(tiles.contiguous())
        if self._half is not None and not torch.isfinite(output).all():
            _LOG.warning("%s overflows in half precision: float32 from now on", self.name)
            self._half = None
            output = self._forward(tiles.contiguous())
        return output.cpu().numpy()

    def _forward(self, tiles: Tensor) -> Tensor:
        half = self._half
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            output: Tensor = self.network(tiles)
        output = output.float()
        return output.mean(dim=(2, 3)) if output.ndim == 4 else output


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Load named weights from ``.safetensors``, or from ``.pt``/``.pth``/``.bin`` without code.

    A checkpoint that holds its weights under ``state_dict`` or ``model`` is unpacked.

    Raises
    ------
    InputError
        Code ``encoder_weights``: absent, damaged, or more than plain tensors.
    """
    file = Path(path)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise many kinds for a damaged or hostile file
        raise _bad_weights(file, f"the weights cannot be read ({type(error).__name__})") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise _bad_weights(file, "the file does not hold named tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def fill(network: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load weights; those of a classifier head may be left over, none may be missing.

    Raises
    ------
    InputError
        Code ``encoder_weights``.
    """
    try:
        missing, _ = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise _bad_weights(path, "the weights are of another architecture") from error
    if missing:
        shown = ", ".join(missing[:3])
        raise _bad_weights(path, f"{len(missing)} weights are missing, such as {shown}")


def _bad_weights(path: str | Path, problem: str) -> InputError:
    return InputError(
        problem,
        file=path,
        remedy="Give the weights that belong to the encoder's architecture",
        code="encoder_weights",
    )


def monai_network(name: str, state: dict[str, Tensor], path: str | Path) -> nn.Module:
    """Return a MONAI image network without its classifier, with weights from a local file.

    Parameters
    ----------
    name : str
        ``resnet18``, ``resnet50``, ``densenet121`` or ``efficientnet-b0``.
    """
    from monai.networks import nets

    options: dict[str, Any] = {"spatial_dims": 2}
    network: Any
    if name.startswith("resnet"):
        network = getattr(nets, name)(n_input_channels=3, feed_forward=False, **options)
    elif name.startswith("densenet"):
        network = nets.DenseNet121(in_channels=3, out_channels=1, **options)
        network.class_layers.out = nn.Identity()
    else:
        network = nets.EfficientNetBN(
            name, in_channels=3, num_classes=1, pretrained=False, **options
        )
        network._fc = nn.Identity()
    fill(network, state, path)
    return cast(nn.Module, network)
