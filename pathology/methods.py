"""The methods that can be compared, as data: the same network, other losses and batches."""

from typing import Literal

from pydantic import Field

from offsite.settings import Settings
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
        "sc_mil": {"contrast": "standard", "batches": "balanced"},
        "sc_mil_class_aware": {"contrast": "standard", "batches": "class_aware"},
        "sc_mil_random_batches": {"contrast": "standard"},
        "sc_mil_prototypes": {"contrast": "prototypes", "batches": "balanced"},
        "sc_mil_minority": {"contrast": "minority", "batches": "balanced"},
        "sc_mil_balanced_softmax": {"contrast": "standard", "loss": "balanced_softmax"},
        "sc_mil_logit_adjustment": {"contrast": "standard", "loss": "logit_adjustment"},
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
        "two_stage": {"second_stage": True},
    }.items()
}

METHOD_NAMES: dict[str, Method | None] = {LINEAR: None, **METHODS}
"""Every method by name, to choose from."""
