"""What a model's folder says of itself: its configuration, read and checked."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from offsite.errors import InputError

_LARGEST_JSON = 1 << 20  # bytes


class Built(NamedTuple):
    """A network as its configuration says it is.

    Attributes
    ----------
    network : nn.Module
        With its weights; what no feature is made of is left out.
    architecture : str
    tile_px : int
        Side of the picture it reads, px.
    mean, std : tuple of float
        Normalisation of R, G, B in [0, 1].
    prefix : int
        Tokens before the patch tokens (class and registers); 0 where there are none.
    """

    network: nn.Module
    architecture: str
    tile_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    prefix: int


def read_json(file: Path) -> dict[str, Any]:
    """Return a configuration; empty where there is no file.

    Raises
    ------
    InputError
        Code ``encoder_weights``: it is no JSON object, or far too long for one.
    """
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > _LARGEST_JSON:
            raise ValueError("too long")
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (ValueError, OSError) as error:
        raise unfit(file, f"the model's configuration cannot be read ({error})") from error
    return content


def colours(
    mean: Any, std: Any, otherwise: tuple[tuple[float, ...], tuple[float, ...]], file: Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the normalisation that a configuration states, or ``otherwise`` where it states none."""
    if mean is None or std is None:
        return otherwise
    try:
        stated = tuple(float(one) for one in mean), tuple(float(one) for one in std)
    except (TypeError, ValueError) as error:
        raise unfit(file, "the normalisation is not three numbers") from error
    if any(len(each) != 3 for each in stated) or min(stated[1]) <= 0:
        raise unfit(file, "the normalisation is not three numbers")
    return stated


def unfit(file: Path, problem: str) -> InputError:
    """Return the error of a model's folder that cannot be used."""
    return InputError(
        problem,
        file=file,
        remedy="Give a whole, unchanged copy of the model's repository (docs/foundation_encoders.md)",
        code="encoder_weights",
    )
