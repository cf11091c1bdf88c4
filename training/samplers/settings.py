"""A sampler from settings."""

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from offsite.settings import Settings
from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.plans import BatchPlan
from offsite.training.samplers.shares import Rule, cells_of
from offsite.training.samplers.weighted import WeightedBatches


class SamplerSettings(Settings):
    """How the batches of an epoch are drawn."""

    kind: Literal["shares", "class_aware"] = Field(
        "shares",
        description="Cells at set shares, or batches with several items of every class",
    )
    by: Literal["class", "site", "site_class"] = Field(
        "class", description="Cells whose shares are set: classes, sites, or site x class"
    )
    rule: Rule = Field(
        "power", description="Shares: n^exponent, effective number, or natural to balanced"
    )
    exponent: float = Field(
        1.0, ge=0, le=1, description="1 = as they come, 0.5 = square root, 0 = balanced"
    )
    beta: float = Field(0.999, ge=0, lt=1, description="Overlap of the effective number of items")
    per_class: int = Field(2, ge=1, description="Fewest items of a class in a class-aware batch")
    cross_site: bool = Field(
        False, description="Class-aware batches take a class's items from its sites in turn"
    )
    repeats_within_batch: bool = Field(
        False, description="Class-aware batches may hold an item twice (two views of it)"
    )
    one_per_patient: bool = Field(
        False, description="An epoch starts from one random item of each patient"
    )
    epoch_size: int | None = Field(None, ge=1, description="Draws in an epoch; default all items")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind == "class_aware" and self.one_per_patient:
            raise ValueError("one_per_patient needs kind 'shares'")
        if self.kind == "class_aware" and (self.by, self.rule) != ("class", "power"):
            raise ValueError("class_aware batches are by class, their rest by n^exponent")
        if self.kind == "shares" and (self.cross_site or self.repeats_within_batch):
            raise ValueError("cross_site and repeats_within_batch need kind 'class_aware'")
        return self

    @property
    def evens_classes(self) -> bool:
        """Whether rare classes are drawn oftener than they come.

        Examples
        --------
        >>> [SamplerSettings(by=by, exponent=0.5).evens_classes for by in ("class", "site")]
        [True, False]
        """
        if self.kind == "class_aware":
            return True
        return self.by != "site" and (self.rule != "power" or self.exponent < 1)


def make_plan(
    settings: SamplerSettings,
    labels: Any,
    sites: Any,
    patients: Any,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
) -> BatchPlan:
    """Return the plan that the settings describe.

    Parameters
    ----------
    labels : array
        N, int; -1 = unlabelled, never drawn.
    sites, patients : array
        N each, any sortable values.
    batch_size : int
        Items in a batch, over all processes.
    epochs, seed : int
        Of the run.
    """
    y = np.asarray(labels)
    if settings.kind == "class_aware":
        return ClassAwareBatches(
            y,
            batch_size,
            seed,
            per_class=settings.per_class,
            exponent=settings.exponent,
            epoch_size=settings.epoch_size,
            repeats_within_batch=settings.repeats_within_batch,
            sites=sites if settings.cross_site else None,
        )
    keys = {"class": [y], "site": [sites], "site_class": [sites, y]}[settings.by]
    cells = np.where(y >= 0, cells_of(*keys)[0], -1)
    return WeightedBatches(
        cells,
        batch_size,
        seed,
        rule=settings.rule,
        exponent=settings.exponent,
        beta=settings.beta,
        epochs=epochs,
        epoch_size=settings.epoch_size,
        patients=patients if settings.one_per_patient else None,
    )
