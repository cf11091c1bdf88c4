"""The methods that can be compared, as data: the same network, other losses and batches."""

import math
from typing import Literal

import numpy as np
from pydantic import Field

from offsite.errors import InputError
from offsite.pathology.settings import ContrastSettings, ScMilSettings, StagedSettings
from offsite.settings import Settings
from offsite.training.losses.settings import LossKind
from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.plans import BatchPlan, RandomBatches, TwoPlans
from offsite.training.samplers.weighted import WeightedBatches


class Method(Settings):
    """What sets a method apart from the others."""

    contrast: Literal["standard", "minority", "prototypes"] | None = Field(
        default=None, description="Supervised contrast between bags; none = the classifier's loss"
    )
    loss: LossKind = Field(default="cross_entropy", description="Loss of the classifier")
    batches: Literal["random", "balanced", "class_aware"] = Field(
        default="random",
        description="Bags as they come; classes drawn equally; or at least two bags of each class"
        " in every batch",
    )
    second_stage: bool = Field(
        default=False,
        description="In the last part of training the classifier alone goes on, on balanced"
        " batches and frozen embeddings (after Kang et al. 2020, arXiv 1910.09217; it keeps its"
        " weights there, where they draw new ones)",
    )


SECOND_STAGE_FROM = 0.6
"""Progress at which the second stage begins, with the first epoch from there on."""

METHODS: dict[str, Method] = {
    name: Method.model_validate(given)
    for name, given in {
        "sc_mil": {"contrast": "standard", "batches": "class_aware"},
        "sc_mil_random_batches": {"contrast": "standard"},
        "sc_mil_prototypes": {"contrast": "prototypes", "batches": "class_aware"},
        "sc_mil_minority": {"contrast": "minority", "batches": "class_aware"},
        "cross_entropy": {},
        "weighted": {"loss": "weighted"},
        "balanced_sampling": {"batches": "balanced"},
        "class_aware_batches": {"batches": "class_aware"},
        "focal": {"loss": "focal"},
        "ldam_drw": {"loss": "ldam_drw"},
        "balanced_softmax": {"loss": "balanced_softmax"},
        "logit_adjustment": {"loss": "logit_adjustment"},
        "two_stage": {"second_stage": True},
    }.items()
}


def second_stage_epoch(epochs: int) -> int:
    """Return the epoch (from 0) with which the second of two stages begins; it has at least one.

    Raises
    ------
    InputError
        Code ``too_few_epochs``: there is one epoch for two stages.
    """
    if epochs < 2:
        raise InputError(
            "two stages need at least two epochs",
            remedy="Set fit.epochs to 2 or more",
            code="too_few_epochs",
        )
    return min(math.ceil(round(SECOND_STAGE_FROM * epochs, 9)), epochs - 1)


def with_method(method: Method, model: ScMilSettings, epochs: int | None = None) -> StagedSettings:
    """Return the network's settings as the method wants them; its other settings are kept.

    Parameters
    ----------
    epochs : int, optional
        Of the run. With them the trunk is frozen just when `batch_plan` turns to balanced batches;
        without, at `SECOND_STAGE_FROM`, which is the same where that is the start of an epoch.
    """
    contrast = None
    if method.contrast is not None:
        base = model.contrast or ContrastSettings.model_validate({})
        contrast = base.model_copy(update={"variant": method.contrast})
    freeze_from = None
    if method.second_stage:
        freeze_from = second_stage_epoch(epochs) / epochs if epochs else SECOND_STAGE_FROM
    decided = {
        "contrast": contrast,
        "loss": model.loss.model_copy(update={"kind": method.loss}),
        "freeze_from": freeze_from,
    }
    return StagedSettings(**{**dict(model), **decided})


def batch_plan(
    method: Method, labels: np.ndarray, batch_size: int, epochs: int, seed: int
) -> BatchPlan:
    """Return the method's batches over labelled bags.

    Parameters
    ----------
    labels : numpy.ndarray
        Class of each training bag.
    """
    if method.batches == "class_aware":
        return ClassAwareBatches(labels, batch_size, seed)
    balanced = WeightedBatches(labels, batch_size, seed, exponent=0.0)
    if method.batches == "balanced":
        return balanced
    natural = RandomBatches(len(labels), batch_size, seed)
    if not method.second_stage:
        return natural
    return TwoPlans(natural, balanced, second_stage_epoch(epochs))
