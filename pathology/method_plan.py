"""What a method makes of the network's settings and of the batches."""

import math

import numpy as np

from offsite.errors import InputError
from offsite.pathology.methods import Method
from offsite.pathology.settings import ContrastSettings, ScMilSettings, StagedSettings
from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.plans import BatchPlan, Passes, RandomBatches, TwoPlans
from offsite.training.samplers.weighted import WeightedBatches

SECOND_STAGE_FROM = 0.6
"""Progress at which the second stage begins, with the first epoch from there on."""


def second_stage_epoch(epochs: int) -> int:
    """Return the epoch (from 0) with which the second of two stages begins; it has at least one.

    Raises
    ------
    InputError
        Code ``too_few_epochs``: there is one epoch for two stages.

    Examples
    --------
    >>> second_stage_epoch(10), second_stage_epoch(2)
    (6, 1)
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
        "loss": model.loss.model_copy(update={"kind": method.loss or model.loss.kind}),
        "freeze_from": freeze_from,
    }
    return StagedSettings(**{**dict(model), **decided})


def batch_plan(
    method: Method,
    labels: np.ndarray,
    batch_size: int,
    epochs: int,
    seed: int,
    epoch_steps: int = 1,
) -> BatchPlan:
    """Return the method's batches over labelled bags.

    Parameters
    ----------
    labels : numpy.ndarray
        Class of each training bag.
    epoch_steps : int
        Fewest steps of an epoch, >= 1: where one pass has fewer, an epoch is several passes.
    """
    passes = math.ceil(epoch_steps / math.ceil(len(labels) / batch_size))
    plan = _one_pass(method, labels, batch_size, epochs, passes, seed)
    return plan if passes == 1 else Passes(plan, passes)


def _one_pass(
    method: Method, labels: np.ndarray, batch_size: int, epochs: int, passes: int, seed: int
) -> BatchPlan:
    if method.batches == "class_aware":
        return ClassAwareBatches(labels, batch_size, seed)
    balanced = WeightedBatches(labels, batch_size, seed, exponent=0.0)
    if method.batches == "balanced":
        return balanced
    natural = RandomBatches(len(labels), batch_size, seed)
    if not method.second_stage:
        return natural
    return TwoPlans(natural, balanced, passes * second_stage_epoch(epochs))
