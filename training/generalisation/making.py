"""A domain-generalisation algorithm from settings."""

from torch import nn

from offsite.registry import Registry
from offsite.training.generalisation.erm import ERM, Parts, SiteAlgorithm
from offsite.training.generalisation.names import ALGORITHMS
from offsite.training.generalisation.objectives import SiteObjective, SiteParts
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss

_CLASSES: Registry[type[ERM] | type[SiteObjective]] = Registry(
    "algorithm", {name: kind.address for name, kind in ALGORITHMS.items()}
)


def make_algorithm(
    settings: GeneralisationSettings,
    backbone: nn.Module,
    classifier: nn.Module,
    loss: ClassificationLoss,
    n_sites: int,
) -> ERM:
    """Return the algorithm that the settings describe; the backbone is taken over, not copied.

    Parameters
    ----------
    backbone : nn.Module
        ``backbone(pixels) -> B x E``.
    classifier : nn.Module
        ``classifier(embedding) -> B x C``; for ``fishr`` an `nn.Linear`.
    loss : ClassificationLoss
    n_sites : int
        Sites in training; a batch's ``sites`` are numbers below it.
    """
    kind = _CLASSES.named(settings.kind)
    if issubclass(kind, ERM):
        return kind.from_settings(Parts(backbone, classifier, loss, n_sites), settings)
    objective = make_objective(settings, SiteParts(classifier, loss, n_sites))
    assert objective is not None
    return SiteAlgorithm(backbone, classifier, loss, objective)


def make_objective(settings: GeneralisationSettings, parts: SiteParts) -> SiteObjective | None:
    """Return the objective over sites of an algorithm; None where it has none, as ``erm``."""
    kind = _CLASSES.named(settings.kind)
    if issubclass(kind, SiteObjective):
        return kind.from_settings(parts, settings)
    return None
