"""The methods by name, as data; all train the same network on equally many photographs an epoch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from offsite.errors import InputError
from offsite.registry import check_name
from offsite.training.generalisation.names import ALGORITHMS

TALLY = {"weighting": "none", "alignment": 0.0, "original_weight": 0.0, "mixing_alpha": 0.5}
"""DECO settings that make it TALLY (without its second correction for imbalance in the loss)."""

CONTROL = {"swap": False, "class_prototypes": False, "site_prototypes": False, "alignment": 0.0}
"""The same draws of anchors, and nothing else: what resampling alone gives (Teney et al. 2024)."""


@dataclass(frozen=True)
class Method:
    """How a method trains.

    Attributes
    ----------
    build : str
        ``"module:function"`` that makes the algorithm of an
        `offsite.retina.building.MethodContext`.
    batches : {"instance", "sites", "anchors", "pairs"}
        ``instance``: every photograph once an epoch. ``sites``: as many of each site, for methods
        that compare sites within a batch. ``anchors``: as DECO draws its anchors, alone. ``pairs``:
        those with a partner of another site.
    about : str
        One line.
    settings : dict
        Laid over the settings of the method's family (DECO's, or the general ones).
    fit : dict
        Laid over the fit settings.
    second_view : bool
        Batches carry a view with fundus artefacts.
    """

    build: str
    batches: Literal["instance", "sites", "anchors", "pairs"]
    about: str
    settings: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    second_view: bool = False


_GENERAL = "offsite.retina.building:general"
_DECO = "offsite.retina.building:deco"


def _general(kind: str, about: str | None = None, **fit: Any) -> Method:
    known = ALGORITHMS[kind]
    return Method(_GENERAL, known.batches, about or known.about, settings={"kind": kind}, fit=fit)


def _rung(about: str, **settings: Any) -> Method:
    return Method(_DECO, "pairs", about, settings=settings)


METHODS: dict[str, Method] = {
    **{kind: _general(kind) for kind in ALGORITHMS},
    "erm_ema": _general("erm", "ERM, moving average of weights", averaging="ema"),
    "erm_swad": _general("erm", "ERM, SWAD weights", averaging="swad"),
    "gdrnet": Method(
        "offsite.retina.building:gdrnet",
        "instance",
        "artefact views, fading contrast, class and site weights",
        second_view=True,
    ),
    "control": Method(_DECO, "anchors", "DECO's anchors, nothing mixed", settings=CONTROL),
    "swap": _rung(
        "control and the style of another site",
        **{**CONTROL, "swap": True},
    ),
    "swap_aligned": _rung(
        "swap and alignment: DECO without prototypes",
        class_prototypes=False,
        site_prototypes=False,
    ),
    "swap_class": _rung(
        "swap and class prototypes",
        **{**CONTROL, "swap": True, "class_prototypes": True, "weighting": "none"},
    ),
    "swap_class_site": _rung("and site prototypes", weighting="none", alignment=0.0),
    "deco_unaligned": _rung("and data-aware weights: DECO without alignment", alignment=0.0),
    "deco": _rung("DECO, all parts"),
    "tally": _rung("TALLY: no weights, no alignment, mixed features only", **TALLY),
}

ON_FEATURES = tuple(
    name
    for name, method in METHODS.items()
    if method.build == _GENERAL and method.settings["kind"] != "mixstyle"
)
"""Methods that ask for features alone, so that they can train the head of a frozen trunk.

Mixup then mixes features in the place of pictures."""

LINEAR = "linear"
"""The method that fits a head to the frozen trunk in closed form; those above train by steps."""

LADDER = ("erm", "control", "swap", "swap_class", "swap_class_site", "deco_unaligned", "deco")
"""From plain training to DECO, a part at a time."""


def check_method_name(name: str) -> None:
    """Refuse a name that is not in the table, before anything is read.

    Raises
    ------
    InputError
        Code ``unknown_method``.
    """
    check_name(name, "method", {LINEAR: None, **METHODS})


def check_reads_features(name: str) -> None:
    """Refuse a method that mixes pictures or maps where the trunk is frozen and runs once.

    Raises
    ------
    InputError
        Code ``needs_a_trained_trunk``.
    """
    if name == LINEAR or name in ON_FEATURES:
        return
    raise InputError(
        f"method '{name}' changes pictures or maps, and a frozen trunk runs once, before it",
        remedy=f"Set backbone.frozen to false, or take one of {', '.join((LINEAR, *ON_FEATURES))}",
        code="needs_a_trained_trunk",
    )


def method_named(name: str) -> Method:
    """Return a method that trains by steps.

    Raises
    ------
    InputError
        Code ``unknown_method``.
    """
    check_method_name(name)
    return METHODS[name]
