"""The methods by name; all train the same network on equally many photographs an epoch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from offsite.retina.deco.algorithm import CONTROL, TALLY, Deco
from offsite.retina.gdrnet import Gdrnet
from offsite.retina.networks.classifier import FundusClassifier
from offsite.retina.settings import DecoSettings, GdrnetSettings, check_method_name
from offsite.training.generalisation.erm import ERM
from offsite.training.generalisation.making import make_algorithm
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss


@dataclass(frozen=True)
class MethodContext:
    """What a method is built from.

    Attributes
    ----------
    network : FundusClassifier
        With first weights that depend on settings and seed, not on the method.
    loss : ClassificationLoss
        Of logits and labels.
    class_counts, site_counts : numpy.ndarray
        Training photographs of each class (C) and each training site (D).
    px : int
        Side of the photographs.
    deco, gdrnet, general : settings
        Of these methods; what `Method.settings` names is laid over them.
    """

    network: FundusClassifier
    loss: ClassificationLoss
    class_counts: np.ndarray
    site_counts: np.ndarray
    px: int
    deco: DecoSettings
    gdrnet: GdrnetSettings
    general: GeneralisationSettings


@dataclass(frozen=True)
class Method:
    """How a method trains.

    Attributes
    ----------
    build : callable
        Makes the algorithm of a `MethodContext`.
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

    build: Callable[[MethodContext], ERM]
    batches: Literal["instance", "sites", "anchors", "pairs"]
    about: str
    settings: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    second_view: bool = False


def _deco(context: MethodContext) -> ERM:
    return Deco(
        context.network,
        context.loss,
        context.deco,
        context.class_counts,
        context.site_counts,
        context.px,
    )


def _gdrnet(context: MethodContext) -> ERM:
    return Gdrnet(context.network, context.gdrnet, context.class_counts, context.site_counts)


def _general(context: MethodContext) -> ERM:
    network = context.network
    settings = context.general.model_copy(update={"layers": network.backbone.first_layers})
    return make_algorithm(
        settings, network.backbone, network.classifier, context.loss, len(context.site_counts)
    )


def _known(kind: str, batches: Literal["instance", "sites"], about: str, **fit: Any) -> Method:
    return Method(_general, batches, about, settings={"kind": kind}, fit=fit)


def _rung(about: str, **settings: Any) -> Method:
    return Method(_deco, "pairs", about, settings=settings)


METHODS: dict[str, Method] = {
    "erm": _known("erm", "instance", "plain training, every photograph once"),
    "erm_ema": _known("erm", "instance", "ERM, moving average of weights", averaging="ema"),
    "erm_swad": _known("erm", "instance", "ERM, SWAD weights", averaging="swad"),
    "mixup": _known("mixup", "instance", "mixes photographs and labels"),
    "mixstyle": _known("mixstyle", "instance", "mixes feature statistics of early stages"),
    "coral": _known("coral", "sites", "equal means and covariances of embeddings"),
    "group_dro": _known("group_dro", "sites", "weights the sites that do worst"),
    "irm": _known("irm", "sites", "one classifier optimal at every site"),
    "vrex": _known("vrex", "sites", "equal risks"),
    "fishr": _known("fishr", "sites", "equal variances of gradients"),
    "gdrnet": Method(
        _gdrnet,
        "instance",
        "artefact views, fading contrast, class and site weights",
        second_view=True,
    ),
    "control": Method(_deco, "anchors", "DECO's anchors, nothing mixed", settings=CONTROL),
    "swap": _rung(
        "control and the style of another site",
        **{**CONTROL, "swap": True},
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

LADDER = ("erm", "control", "swap", "swap_class", "swap_class_site", "deco_unaligned", "deco")
"""From plain training to DECO, a part at a time."""


def method_named(name: str) -> Method:
    """Return a method.

    Raises
    ------
    InputError
        Code ``unknown_method``.
    """
    check_method_name(name)
    return METHODS[name]
