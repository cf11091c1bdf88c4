"""Networks of the optional package transformers, from a model's folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from offsite.pathology.tile_encoders.models import IMAGENET_MEAN, IMAGENET_STD, FoundationModel
from offsite.pathology.tile_encoders.published import Built, colours, read_json, unfit
from offsite.training.vision_packages import transformers_package


def transformers_network(
    stated: Mapping[str, Any], place: Path, model: FoundationModel | None
) -> Built:
    """Build a network and load its weights; features are its last hidden state.

    A pooler is left out: no feature is made of it, and where the file holds none of it the package
    would draw it anew at each load.

    Raises
    ------
    InputError
        Code ``missing_package`` or ``encoder_weights``.
    """
    transformers = transformers_package()
    try:
        with _quietly():
            network, report = transformers.AutoModel.from_pretrained(
                place, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # whatever another's loader makes of another's file
        first = (str(error).splitlines() or [""])[0]
        raise unfit(
            place, f"transformers cannot load it ({type(error).__name__}: {first})"
        ) from error
    missing = [key for key in report["missing_keys"] if not key.startswith("pooler.")]
    missing += list(report.get("mismatched_keys", ()))
    if missing:
        raise unfit(place, f"{len(missing)} weights are missing, such as {missing[0]}")
    network.pooler = None
    prepared = read_json(place / "preprocessor_config.json")
    mean, std = colours(
        prepared.get("image_mean"),
        prepared.get("image_std"),
        (model.mean, model.std) if model else (IMAGENET_MEAN, IMAGENET_STD),
        place,
    )
    side = stated.get("image_size")
    side = side[-1] if isinstance(side, list) and side else side
    if not isinstance(side, int) or not 16 <= side <= 4096:
        side = model.tile_px if model else 224
    known = network.state_dict()
    has_class = any(key.endswith("cls_token") for key in known)
    registers = int(stated.get("num_register_tokens") or 0)
    return Built(
        _LastHidden(network),
        str(stated["model_type"]),
        side,
        mean,
        std,
        has_class + registers if has_class else 0,
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """No bars, and no report of the pooler's weights; what is missing is judged here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class _LastHidden(nn.Module):
    """The tokens after the last layer, N x T x D, or maps N x D x h x w."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: Tensor) -> Tensor:
        hidden: Tensor = self.network(pixel_values=tiles).last_hidden_state
        return hidden

    forward_features = forward
