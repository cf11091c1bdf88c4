"""The methods by name; all train the same network on equally many photographs an epoch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from preprocessing.errors import InputError
from retina.classifier import FundusClassifier
from retina.deco import CONTROL, TALLY, Deco, DecoSettings
from retina.gdrnet import Gdrnet, GdrnetSettings
from training.algorithm import Algorithm


@dataclass(frozen=True)
class MethodContext:
    """What a method is built from.

    Attributes
    ----------
    network : FundusClassifier
        With first weights that depend on settings and seed, not on the method.
    class_counts, site_counts : numpy.ndarray
        Training photographs of each class (C) and each training site (D).
    px : int
        Side of the photographs.
    deco, gdrnet : settings
        Of these methods; presets are laid over ``deco``.
    """

    network: FundusClassifier
    class_counts: np.ndarray
    site_counts: np.ndarray
    px: int
    deco: DecoSettings
    gdrnet: GdrnetSettings


@dataclass(frozen=True)
class Method:
    """How a method trains.

    Attributes
    ----------
    build : callable
        Makes the algorithm of a `MethodContext`.
    batches : {"instance", "anchors", "pairs"}
        ``instance``: every photograph once an epoch. ``anchors``: as DECO draws its anchors, alone.
        ``pairs``: those with a partner of another site.
    second_view : bool
        Batches carry a view with fundus artefacts.
    deco : dict
        Laid over the DECO settings.
    fit : dict
        Laid over the fit settings.
    about : str
        One line.
    """

    build: Callable[[MethodContext], Algorithm]
    batches: Literal["instance", "anchors", "pairs"]
    about: str
    second_view: bool = False
    deco: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)


def _deco(context: MethodContext) -> Algorithm:
    return Deco(
        context.network, context.deco, context.class_counts, context.site_counts, context.px
    )


def _gdrnet(context: MethodContext) -> Algorithm:
    return Gdrnet(context.network, context.gdrnet, context.class_counts, context.site_counts)


_SWAP = CONTROL | {"swap": True, "original_weight": 1.0}

METHODS: dict[str, Method] = {
    "erm": Method(_deco, "instance", "plain cross-entropy, every photograph once", deco=CONTROL),
    "control": Method(_deco, "anchors", "DECO's anchors, nothing mixed", deco=CONTROL),
    "swap": Method(_deco, "pairs", "control and the style of another site", deco=_SWAP),
    "swap_class": Method(
        _deco, "pairs", "swap and class prototypes", deco=_SWAP | {"class_prototypes": True,
        "weighting": "none"},
    ),
    "swap_class_site": Method(
        _deco, "pairs", "swap, class and site prototypes", deco={"weighting": "none",
        "alignment": 0.0},
    ),
    "deco_unaligned": Method(_deco, "pairs", "DECO without alignment", deco={"alignment": 0.0}),
    "deco": Method(_deco, "pairs", "DECO, all parts"),
    "tally": Method(_deco, "pairs", "TALLY: no weights, no alignment, mixed only", deco=TALLY),
    "gdrnet": Method(_gdrnet, "instance", "GDRNet", second_view=True),
}  # fmt: skip

LADDER = ("erm", "control", "swap", "swap_class", "swap_class_site", "deco_unaligned", "deco")
"""From plain training to DECO, a part at a time."""


def method_named(name: str) -> Method:
    """Return a method.

    Raises
    ------
    InputError
        Code ``unknown_method``.
    """
    if name not in METHODS:
        raise InputError(
            f"no method is named '{name}'", remedy=f"Use one of {', '.join(METHODS)}",
            code="unknown_method",
        )  # fmt: skip
    return METHODS[name]
