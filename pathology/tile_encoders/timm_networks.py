"""Networks of timm, from a model's folder or by timm's name with a file of weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from offsite.pathology.tile_encoders.models import IMAGENET_MEAN, IMAGENET_STD, FoundationModel
from offsite.pathology.tile_encoders.names import TIMM
from offsite.pathology.tile_encoders.networks import load_state
from offsite.pathology.tile_encoders.published import Built, colours, unfit
from offsite.training.vision_packages import timm_package

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ANY = "*.safetensors"
_CLASSIFIER = re.compile(r"(head|fc|classifier|head\.fc)\.(weight|bias)")


def timm_network(
    name: str, stated: Mapping[str, Any], place: Path, model: FoundationModel | None
) -> Built:
    """Build a network and load its weights, every one of them.

    Parameters
    ----------
    name : str
        The encoder's; ``timm:NAME`` must be the architecture of the folder.
    stated : mapping
        The folder's ``config.json``; empty where ``place`` is a file of weights.
    place : path
        The folder or the file.
    model : FoundationModel, optional
        What the makers say, where they are known by name.

    Raises
    ------
    InputError
        Code ``missing_package`` or ``encoder_weights``.
    """
    timm = timm_package()
    asked = name.removeprefix(TIMM) if name.startswith(TIMM) else ""
    architecture = str(stated.get("architecture") or asked)
    if asked and architecture.partition(".")[0] != asked.partition(".")[0]:
        raise unfit(place, f"the folder is of {architecture}, not of {asked}")
    if not architecture or not timm.is_model(architecture):
        known = timm.list_models(f"{architecture[:12]}*")[:3] if architecture else []
        near = f" (near: {', '.join(known)})" if known else ""
        raise unfit(place, f"timm knows no architecture '{architecture}'{near}")
    state = _state(place)
    arguments = _arguments(stated, state, model, timm, place)
    try:
        network = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    except Exception as error:  # whatever another's constructor makes of another's numbers
        raise unfit(place, f"timm cannot build it ({type(error).__name__}: {error})") from error
    _load(network, state, place)
    published = stated.get("pretrained_cfg") or {}
    known = timm.get_pretrained_cfg(architecture) if not stated else None
    side = _side(published.get("input_size") or getattr(known, "input_size", None), arguments)
    otherwise = (model.mean, model.std) if model else (IMAGENET_MEAN, IMAGENET_STD)
    mean, std = colours(
        published.get("mean", getattr(known, "mean", None)),
        published.get("std", getattr(known, "std", None)),
        otherwise,
        place,
    )
    prefix = int(getattr(network, "num_prefix_tokens", 0))
    return Built(
        network, architecture, side or (model.tile_px if model else 224), mean, std, prefix
    )


def _state(place: Path) -> dict[str, Tensor]:
    if place.is_file():
        return load_state(place)
    files = [place / file for file in _WEIGHTS if (place / file).is_file()]
    files = files or sorted(place.glob(_ANY))
    if not files:
        raise unfit(place, f"none of {', '.join(_WEIGHTS)} in the model's folder")
    return load_state(files[0])


def _arguments(
    stated: Mapping[str, Any],
    state: Mapping[str, Tensor],
    model: FoundationModel | None,
    timm: Any,
    place: Path,
) -> dict[str, Any]:
    """The makers' options, over them what the folder states, and what only the weights show.

    A configuration cannot name a layer's class: that the feed-forward part is a packed SwiGLU is
    seen by its first matrix, twice as high as its second is wide.
    """
    options = stated.get("model_args") or {}
    if not isinstance(options, Mapping):
        raise unfit(place, "model_args of the configuration is no mapping")
    arguments = {**(model.options if model else {}), **options}
    if "global_pool" in stated and "global_pool" not in options and stated["global_pool"]:
        arguments["global_pool"] = stated["global_pool"]
    first, second = (state.get(f"blocks.0.mlp.fc{part}.weight") for part in (1, 2))
    if first is not None and second is not None and first.shape[0] == 2 * second.shape[1]:
        from torch.nn import SiLU

        arguments |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": SiLU}
    if "blocks.0.ls1.gamma" in state:
        arguments.setdefault("init_values", 1e-5)
    if "reg_token" in state:
        arguments.setdefault("reg_tokens", state["reg_token"].shape[1])
    return {key: value for key, value in arguments.items() if key != "num_classes"}


def _load(network: nn.Module, state: dict[str, Tensor], place: Path) -> None:
    """Load the weights: none missing, none left over but a classifier's."""
    try:
        missing, left = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        where = str(error).splitlines()[1:2] or [str(error)]
        raise unfit(
            place, f"the weights are of another architecture ({where[0].strip()})"
        ) from error
    wrong = [*missing, *(key for key in left if not _CLASSIFIER.fullmatch(key))]
    if wrong:
        shown = ", ".join(wrong[:3])
        raise unfit(place, f"{len(wrong)} weights are missing or left over, such as {shown}")


def _side(input_size: Any, arguments: Mapping[str, Any]) -> int | None:
    """The side of the pictures (px): as the network is built, else as it was trained."""
    for size in (arguments.get("img_size"), (input_size or [None])[-1]):
        side = size[-1] if isinstance(size, (list, tuple)) else size
        if isinstance(side, int) and 16 <= side <= 4096:
            return side
    return None
