"""A domain-generalisation algorithm from settings."""

from torch import nn

from offsite.errors import InputError
from offsite.training.generalisation.coral import CORAL
from offsite.training.generalisation.erm import ERM
from offsite.training.generalisation.group_dro import GroupDRO
from offsite.training.generalisation.invariance import IRM, Fishr, VREx
from offsite.training.generalisation.mixing import MixStyle, MixStyleERM, Mixup, attach
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss

# Weight of the penalty, progress from which it acts in full, weight until then: the defaults of
# the benchmark of Gulrajani and Lopez-Paz (arXiv 2007.01434), whose runs take 5,000 steps.
_PENALTIES: dict[str, tuple[float, float, float]] = {
    "coral": (1.0, 0.0, 0.0),
    "irm": (100.0, 0.1, 1.0),
    "vrex": (10.0, 0.1, 1.0),
    "fishr": (1000.0, 0.3, 0.0),
}


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
    kind = settings.kind
    if kind == "erm":
        return ERM(backbone, classifier, loss)
    if kind == "mixup":
        return Mixup(
            backbone, classifier, loss, alpha=settings.alpha, other_site=settings.other_site
        )
    if kind == "mixstyle":
        mixer = MixStyle(settings.probability, settings.alpha, other_site=settings.other_site)
        attach(backbone, settings.layers, mixer)
        return MixStyleERM(backbone, classifier, loss)
    if kind == "group_dro":
        return GroupDRO(backbone, classifier, loss, n_sites=n_sites, eta=settings.eta)
    weight, start, before = _PENALTIES[kind]
    weight = weight if settings.penalty_weight is None else settings.penalty_weight
    start = start if settings.penalty_start is None else settings.penalty_start
    if kind == "fishr":
        return _fishr(settings, backbone, classifier, loss, n_sites, weight, start)
    penalised = {"coral": CORAL, "irm": IRM, "vrex": VREx}[kind]
    return penalised(
        backbone, classifier, loss, weight=weight, start=start, weight_before=min(before, weight)
    )


def _fishr(
    settings: GeneralisationSettings,
    backbone: nn.Module,
    classifier: nn.Module,
    loss: ClassificationLoss,
    n_sites: int,
    weight: float,
    start: float,
) -> Fishr:
    if not isinstance(classifier, nn.Linear):
        raise InputError(
            "Fishr needs a linear classifier",
            remedy="Use the plain head or another algorithm",
            code="unfit_head",
        )
    return Fishr(
        backbone,
        classifier,
        loss,
        n_sites=n_sites,
        weight=weight,
        start=start,
        decay=settings.decay,
    )
