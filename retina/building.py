"""The algorithm of a method, with fresh weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from offsite.registry import Registry
from offsite.retina.deco.algorithm import Deco
from offsite.retina.gdrnet import Gdrnet
from offsite.retina.methods import METHODS, Method
from offsite.retina.networks.classifier import FundusClassifier
from offsite.retina.settings import DecoSettings, GdrnetSettings
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


def build(method: Method, context: MethodContext) -> ERM:
    """Return the algorithm of a method."""
    return _BUILDERS[method.build](context)


def deco(context: MethodContext) -> ERM:
    """Build DECO and its parts."""
    return Deco(
        context.network,
        context.loss,
        context.deco,
        context.class_counts,
        context.site_counts,
        context.px,
    )


def gdrnet(context: MethodContext) -> ERM:
    """Build GDRNet."""
    return Gdrnet(context.network, context.gdrnet, context.class_counts, context.site_counts)


def general(context: MethodContext) -> ERM:
    """Build an algorithm of `offsite.training.generalisation`."""
    network = context.network
    settings = context.general.model_copy(update={"layers": network.backbone.first_layers})
    return make_algorithm(
        settings, network.backbone, network.classifier, context.loss, len(context.site_counts)
    )


_BUILDERS: Registry[Callable[[MethodContext], ERM]] = Registry(
    "builder", {address: address for address in sorted({m.build for m in METHODS.values()})}
)
