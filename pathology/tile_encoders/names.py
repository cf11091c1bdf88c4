"""The names that a tile encoder may have, and what each needs; no network is imported here."""

from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from offsite.errors import InputError
from offsite.pathology.tile_encoders.models import MODELS
from offsite.registry import check_name

GROUP = "offsite.tile_encoders"
"""Entry points by which another package brings an encoder; the name is a value of encoder.name."""

BASELINES = ("structure_baseline", "colour_baseline")
IN_THE_BOX = ("efficientnet-lite0", "efficientnet-lite0+structure")
MONAI = ("resnet18", "resnet50", "densenet121", "efficientnet-b0")
FOLDER = "folder"
"""A model's folder as its makers publish it; its configuration says what it is."""
TIMM = "timm:"
"""Before the name of any network of timm."""
OWN = (*BASELINES, *IN_THE_BOX, *MONAI, *MODELS, FOLDER)


class Needs(NamedTuple):
    """What an encoder needs: an optional package ("" = none), and weights from outside."""

    package: str = ""
    weights: bool = False


def encoder_names() -> tuple[str, ...]:
    """Return the names that there are: those of offsite, then those that other packages bring.

    Raises
    ------
    InputError
        Code ``encoder_twice``: two packages bring one name.
    """
    return (*OWN, *brought())


def check_encoder_name(name: str) -> None:
    """Refuse a name that no encoder has; ``timm:NAME`` is left to timm.

    Raises
    ------
    InputError
        Code ``unknown_encoder``, with the nearest name.

    Examples
    --------
    >>> check_encoder_name("timm:vit_small_patch16_224")
    >>> check_encoder_name("virchow")
    >>> check_encoder_name("virchou")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    offsite.errors.InputError: no encoder is named 'virchou'. Did you mean 'virchow'? ...
    """
    if name in OWN or (name.startswith(TIMM) and name != TIMM):
        return
    known = dict.fromkeys((*encoder_names(), f"{TIMM}vit_small_patch16_224"))
    check_name(name, "encoder", known)


def needs(name: str) -> Needs:
    """Return what an encoder needs.

    Examples
    --------
    >>> needs("phikon"), needs("colour_baseline"), needs("resnet18")
    (Needs(package='transformers', weights=True), Needs(package='', weights=False), Needs(package='', weights=True))
    """
    if name.startswith(TIMM):
        return Needs("timm", weights=True)
    if name in MODELS:
        return Needs(MODELS[name].package, weights=True)
    return Needs(weights=name in MONAI or name == FOLDER)


def brought() -> dict[str, EntryPoint]:
    """Return the encoders of other packages by name, not loaded.

    Raises
    ------
    InputError
        Code ``encoder_twice``: a name is brought twice, or is one of offsite's.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = found.get(entry.name)
        if entry.name in OWN or (other is not None and other.value != entry.value):
            theirs = other.value if other is not None else "offsite"
            raise InputError(
                f"encoder '{entry.name}' is brought by {theirs} and by {entry.value}",
                remedy="Uninstall one of the two",
                code="encoder_twice",
            )
        found[entry.name] = entry
    return found
