"""The methods that can be compared, as data: the same network, other losses and batches.

A name may add an algorithm of domain generalisation: ``sc_mil+coral`` is ``sc_mil`` whose classifier's
loss is CORAL's over the training sites.
"""

from typing import Literal

from pydantic import Field

from offsite.errors import InputError
from offsite.registry import check_name
from offsite.settings import Settings
from offsite.training.generalisation.names import ALGORITHMS
from offsite.training.losses.settings import LossKind


class Method(Settings):
    """What sets a method apart from the others."""

    contrast: Literal["standard", "minority", "prototypes"] | None = Field(
        default=None, description="Supervised contrast between bags; none = the classifier's loss"
    )
    loss: LossKind | None = Field(
        default=None, description="Loss of the classifier; none = that of the settings"
    )
    batches: Literal["random", "balanced", "class_aware"] = Field(
        default="random",
        description="Bags as they come; classes drawn equally; or at least two bags of each class"
        " in every batch",
    )
    views: bool = Field(
        default=False,
        description="Bags come as disjoint subsets, as for contrast, without contrast",
    )
    second_stage: bool = Field(
        default=False,
        description="In the last part of training the classifier alone goes on, on balanced"
        " batches and frozen embeddings (after Kang et al. 2020, arXiv 1910.09217; it keeps its"
        " weights there, where they draw new ones)",
    )
    general: str = Field(
        default="erm", description="Algorithm of domain generalisation that the name adds"
    )

    @property
    def compares_sites(self) -> bool:
        """Whether batches must hold as much of each training site."""
        return ALGORITHMS[self.general].batches == "sites"

    @property
    def evens_classes(self) -> bool:
        """Whether rare classes are drawn as often as common ones, at least for a while."""
        return self.batches != "random" or self.second_stage


CORRECTING: tuple[LossKind, ...] = (
    "weighted", "effective_number", "ldam_drw", "balanced_softmax", "logit_adjustment",
)  # fmt: skip
"""Losses that make up for the class counts. On even batches rare classes would be made up for twice."""


LINEAR = "linear"
"""The method that fits a head to mean tile features in closed form; the others train by steps."""

METHODS: dict[str, Method] = {
    name: Method.model_validate(given)
    for name, given in {
        "sc_mil": {"contrast": "standard", "loss": "logit_adjustment"},
        "sc_mil_balanced": {"contrast": "standard", "batches": "balanced"},
        "sc_mil_class_aware": {"contrast": "standard", "batches": "class_aware"},
        "sc_mil_random_batches": {"contrast": "standard"},
        "sc_mil_prototypes": {"contrast": "prototypes", "batches": "balanced"},
        "sc_mil_minority": {"contrast": "minority", "batches": "balanced"},
        "sc_mil_balanced_softmax": {"contrast": "standard", "loss": "balanced_softmax"},
        "sc_mil_ldam_drw": {"contrast": "standard", "loss": "ldam_drw"},
        "cross_entropy": {"loss": "cross_entropy"},
        "weighted": {"loss": "weighted"},
        "balanced_sampling": {"batches": "balanced"},
        "balanced_views": {"batches": "balanced", "views": True},
        "class_aware_batches": {"batches": "class_aware"},
        "focal": {"loss": "focal"},
        "ldam_drw": {"loss": "ldam_drw"},
        "balanced_softmax": {"loss": "balanced_softmax"},
        "logit_adjustment": {"loss": "logit_adjustment"},
        "logit_adjustment_views": {"loss": "logit_adjustment", "views": True},
        "two_stage": {"second_stage": True},
    }.items()
}

METHOD_NAMES: dict[str, Method | None] = {LINEAR: None, **METHODS}
"""Every method by name, to choose from; one that trains by steps may add one of `GENERALISERS`."""

GENERALISERS = tuple(kind for kind in ALGORITHMS if kind != "erm")
"""What a name may add. Bags of other sizes are not averaged: Mixup mixes their embeddings."""


def check_method_name(name: str) -> None:
    """Refuse a name that is not in the table, or adds what is not.

    Raises
    ------
    InputError
        Code ``unknown_method`` or ``unknown_algorithm``; ``unfit_head`` where the two do not fit.
    """
    base, plus, general = name.partition("+")
    check_name(base, "method", METHODS if plus else METHOD_NAMES)
    if not plus:
        return
    check_name(general, "algorithm", dict.fromkeys(GENERALISERS))
    if general == "fishr" and METHODS[base].loss == "ldam_drw":
        raise InputError(
            f"fishr needs a linear classifier, and {base} has one of cosines",
            remedy="Add another algorithm, or take another method",
            code="unfit_head",
        )


def check_loss(name: str, asked: LossKind | None, *, sampler_evens: bool | None = None) -> None:
    """Refuse a loss that the method of that name cannot have, or that its batches make wrong.

    Parameters
    ----------
    asked : str or None
        The loss of the settings.
    sampler_evens : bool or None
        Whether a sampler that takes the place of the method's batches draws rare classes oftener
        than they come; None = there is none.

    Raises
    ------
    InputError
        Code ``loss_decided`` or ``corrected_twice``.
    """
    method = method_named(name)
    if method.loss is not None and asked is not None and asked != method.loss:
        raise InputError(
            f"model.loss.kind is {asked}, but method {name} is by its loss, {method.loss}",
            remedy="Leave out model.loss.kind, or choose a method that takes any loss: "
            + ", ".join(other for other, one in METHODS.items() if one.loss is None),
            code="loss_decided",
        )
    loss, sampled = method.loss or asked or "cross_entropy", sampler_evens is not None
    if loss not in CORRECTING or not (sampler_evens if sampled else method.evens_classes):
        return
    if sampled:
        drawn, other = "does training.sampler", "loss does not"
        fitting = [name for name, one in METHODS.items() if one.loss not in CORRECTING]
    else:
        drawn, other = f"do the batches of method {name}", "batches come as they are"
        fitting = [name for name, one in METHODS.items() if not one.evens_classes]
    raise InputError(
        f"loss {loss} makes up for the class counts, and so {drawn}:"
        " rare classes would be made up for twice",
        remedy="Use model.loss.kind cross_entropy or focal, or a method whose"
        f" {other}: {', '.join(fitting)}",
        code="corrected_twice",
    )


def method_named(name: str) -> Method:
    """Return a method that trains by steps, with the algorithm that the name adds.

    Raises
    ------
    InputError
        See `check_method_name`.

    Examples
    --------
    >>> method_named("sc_mil+coral").general
    'coral'
    """
    check_method_name(name)
    base, plus, general = name.partition("+")
    return METHODS[base].model_copy(update={"general": general if plus else "erm"})
