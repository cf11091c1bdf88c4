"""What a method makes of the network's settings and of the batches."""

import math
from dataclasses import dataclass

import numpy as np

from offsite.errors import InputError
from offsite.pathology.methods import Method
from offsite.pathology.settings import ContrastSettings, ScMilSettings, StagedSettings
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.plans import BatchPlan, Passes, RandomBatches, TwoPlans
from offsite.training.samplers.settings import SamplerSettings, make_plan
from offsite.training.samplers.shares import cells_of
from offsite.training.samplers.weighted import WeightedBatches

_PLAIN = GeneralisationSettings.model_validate({})
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


def with_method(
    method: Method,
    model: ScMilSettings,
    epochs: int | None = None,
    general: GeneralisationSettings = _PLAIN,
) -> StagedSettings:
    """Return the network's settings as the method wants them; its other settings are kept.

    Parameters
    ----------
    epochs : int, optional
        Of the run. With them the trunk is frozen just when `batch_plan` turns to balanced batches;
        without, at `SECOND_STAGE_FROM`, which is the same where that is the start of an epoch.
    general : GeneralisationSettings
        Of the algorithm that the method's name adds, whose kind it sets.
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
        "general": general.model_copy(update={"kind": method.general}),
    }
    return StagedSettings(**{**dict(model), **decided})


@dataclass(frozen=True)
class TrainingItems:
    """What batches are drawn by: class, training site and patient of each training bag."""

    labels: np.ndarray
    sites: np.ndarray
    patients: np.ndarray

    @classmethod
    def alone(cls, labels: np.ndarray) -> "TrainingItems":
        """Return items of one site, each of a patient of its own."""
        return cls(labels, np.zeros_like(labels), np.arange(len(labels)))


def batch_plan(
    method: Method,
    items: TrainingItems,
    batch_size: int,
    epochs: int,
    seed: int,
    epoch_steps: int = 1,
    sampler: SamplerSettings | None = None,
) -> BatchPlan:
    """Return the method's batches over labelled bags, or those that a sampler's settings describe.

    Where the method compares sites, its batches hold as much of each: as they come by site,
    balanced over site and class, or of each class from its sites in turn.

    Parameters
    ----------
    epoch_steps : int
        Fewest steps of an epoch, >= 1: where one pass has fewer, an epoch is several passes.
    """
    passes = math.ceil(epoch_steps / math.ceil(len(items.labels) / batch_size))
    if sampler is not None:
        of = {"batch_size": batch_size, "epochs": passes * epochs, "seed": seed}
        plan = make_plan(sampler, items.labels, items.sites, items.patients, **of)
    else:
        plan = _one_pass(method, items, batch_size, epochs, passes, seed)
    return plan if passes == 1 else Passes(plan, passes)


def _one_pass(
    method: Method, items: TrainingItems, batch_size: int, epochs: int, passes: int, seed: int
) -> BatchPlan:
    labels, sites, compared = items.labels, items.sites, method.compares_sites
    if method.batches == "class_aware":
        return ClassAwareBatches(labels, batch_size, seed, sites=sites if compared else None)
    cells = cells_of(sites, labels)[0] if compared else labels
    balanced = WeightedBatches(cells, batch_size, seed, exponent=0.0)
    if method.batches == "balanced":
        return balanced
    natural: BatchPlan = RandomBatches(len(labels), batch_size, seed)
    if compared:
        natural = WeightedBatches(sites, batch_size, seed, exponent=0.0)
    if not method.second_stage:
        return natural
    return TwoPlans(natural, balanced, passes * second_stage_epoch(epochs))
