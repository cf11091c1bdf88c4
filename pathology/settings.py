"""How a model of slides is trained: everything that a configuration can say of it."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from offsite.errors import InputError
from offsite.pathology.methods import (
    GENERALISERS,
    METHOD_NAMES,
    METHODS,
    check_loss,
    check_method_name,
    method_named,
)
from offsite.settings import Settings
from offsite.training.aggregators.settings import AggregatorSettings
from offsite.training.fit.settings import FitSettings
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.heads.ridge import RidgeSettings
from offsite.training.losses.settings import LossSettings
from offsite.training.modality import TrainingSettings
from offsite.training.samplers.settings import SamplerSettings
from offsite.training.schedules import ScheduleName, scheduled


def _known(name: str) -> str:
    try:
        check_method_name(name)
    except InputError as error:
        raise ValueError(f"{error.problem}. {error.remedy}") from error
    return name


MethodName = Annotated[
    str, AfterValidator(_known), Field(json_schema_extra={"examples": list(METHOD_NAMES)})
]


STEADY = 0.4
"""Weight of the contrast where it is the same throughout and none is asked for."""


class ContrastSettings(Settings):
    """The supervised contrast between bags and its hand-over to the classifier."""

    temperature: float = Field(default=1.0, gt=0, description="Temperature (cosine units)")
    schedule: ScheduleName = Field(
        default="constant",
        description="Course of beta, the weight of the contrast, over progress: 'floor' throughout"
        " (constant), or from 1 to 'floor'",
    )
    step_at: float = Field(
        default=0.5, gt=0, lt=1, description="Progress at which schedule 'step' falls"
    )
    floor: float | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="Value of beta at the end, or throughout; above a half the classifier would never"
        " lead. None = 0.4 throughout, 0 at the end",
    )
    projection: int = Field(
        default=64, ge=2, le=4096, description="Width of the projection head (numbers); not kept"
    )
    variant: Literal["standard", "minority", "prototypes"] = Field(
        default="standard",
        description="Repair for few classes: the largest class attracts only further views of the same bag"
        " (minority), or fixed directions join as positives (prototypes)",
    )
    classifier: Literal["always", "handed_over"] = Field(
        default="always",
        description="Whether the classifier learns at its full rate throughout, the bag's embedding"
        " following it by 1 - beta; or is handed over to: it too learns by 1 - beta",
    )
    memory: int = Field(
        default=0, ge=0, le=65_536, description="Embeddings of earlier batches to contrast with"
    )

    @model_validator(mode="after")
    def _contrasts(self) -> Self:
        if self.schedule == "constant" and self.floor == 0:
            raise ValueError("schedule 'constant' takes its weight from floor, which is 0")
        return self

    def beta(self, progress: float) -> float:
        """Return the weight of the contrast at ``progress`` in [0, 1].

        Examples
        --------
        >>> [ContrastSettings().beta(progress) for progress in (0.0, 0.5, 1.0)]
        [0.4, 0.4, 0.4]
        >>> falling = ContrastSettings(schedule="linear")
        >>> [falling.beta(progress) for progress in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
        """
        if self.schedule == "constant":
            return STEADY if self.floor is None else self.floor
        return scheduled(self.schedule, progress, floor=self.floor or 0.0, step_at=self.step_at)

    def classifier_leads_from(self) -> float:
        """Return the progress, in hundredths, from which the end of an epoch may be selected.

        It is the first at which beta is at most a half: before it the classifier has hardly been
        trained, and validation scores say little. Where beta falls in one step, an epoch that ends
        just there has had no step of the classifier, so it is the hundredth after. A classifier
        that always learns may be selected from the first epoch on.
        """
        if self.classifier == "always":
            return 0.0
        first = next(step for step in range(101) if self.beta(step / 100) <= 0.5)
        return min(first + (self.schedule == "step"), 100) / 100


class ScMilSettings(Settings):
    """The network and its losses; without contrast it is a plain multiple-instance classifier."""

    aggregator: AggregatorSettings = Field(
        default=AggregatorSettings.model_validate({}),
        description="How the instances of a bag become one embedding",
    )
    contrast: ContrastSettings | None = Field(
        default=ContrastSettings.model_validate({}),
        description="The contrast between bags; none = the classifier's loss alone",
    )
    loss: LossSettings = Field(
        default=LossSettings.model_validate({}), description="The loss of the classifier"
    )
    inputs: Literal["auto", "none", "whitened"] = Field(
        default="auto",
        description="What the network reads: the standardised instances (none), their leading"
        " directions, brought nearer to one length (whitened), or what suits the training bags (auto)",
    )
    directions: int = Field(
        default=256, ge=1, le=4096, description="Most directions of whitened instances"
    )
    whitening_power: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Power of its deviation by which a direction is divided: 1 = all get one length",
    )
    first_layer_power: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Power of 256 over the numbers of an instance, by which the learning rate of the first"
        " layer is multiplied where it reads fewer than 256, not whitened; 0 = one rate for all layers",
    )
    site_jitter: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="Random gain and offset of each feature in training, drawn for each view of a"
        " bag, as other stains and scanners would give (standard deviations)",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_run(cls, given: Any) -> Any:
        """Configurations written by earlier runs name what the method decides, always as none."""
        if isinstance(given, dict) and given.get("freeze_from", 0) is None:
            return {name: value for name, value in given.items() if name != "freeze_from"}
        return given

    def selects_from(self) -> float:
        """Return the progress before which no weights may be selected.

        Until then the classifier does not lead yet: it has hardly been trained.
        """
        return self.contrast.classifier_leads_from() if self.contrast else 0.0


class StagedSettings(ScMilSettings):
    """The settings of a network as its method has them (`offsite.pathology.method_plan.with_method`)."""

    freeze_from: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Progress from which the classifier alone is trained, on frozen embeddings",
    )

    general: GeneralisationSettings = Field(
        default=GeneralisationSettings.model_validate({}),
        description="The algorithm of domain generalisation",
    )

    def selects_from(self) -> float:
        """Return the progress before which no weights may be selected.

        Until then the classifier does not lead yet, or a second stage has not begun: its weights
        would be another method's.
        """
        stage = 0.0 if self.freeze_from is None else min(self.freeze_from + 0.01, 1.0)
        return max(super().selects_from(), stage)


class SlideFitSettings(FitSettings):
    """How the weights of a model of slides are fitted."""

    epochs: int = Field(default=40, ge=1, description="Passes over the training bags")
    learning_rate: float = Field(default=5e-4, gt=0, description="Peak learning rate (per step)")


class PathologySettings(TrainingSettings):
    """How a model of slides is trained."""

    method: MethodName = Field(
        default="sc_mil",
        description="Method, by name; NAME+ALGORITHM adds one of domain generalisation:"
        f" {', '.join(GENERALISERS)}",
    )
    model: ScMilSettings = Field(
        default=ScMilSettings.model_validate({}),
        description="Network and losses; the method decides about contrast and loss",
    )
    general: GeneralisationSettings = Field(
        default=GeneralisationSettings.model_validate({}),
        description="Of the algorithm that the method's name adds; the name sets the kind",
    )
    sampler: SamplerSettings | None = Field(
        default=None, description="How bags are drawn, in place of the method's batches"
    )
    batch_size: int = Field(default=16, ge=2, le=4096, description="Bags in a batch")
    instances: int = Field(
        default=512, ge=1, description="Most instances of a bag in a training step, over its views"
    )
    epoch_steps: int = Field(
        default=6,
        ge=1,
        description="Fewest steps of an epoch: the bags of a small cohort come several times in one",
    )
    views: int = Field(
        default=2, ge=1, le=8, description="Disjoint subsets of a bag in a batch, for the contrast"
    )
    pooling: Literal["slide", "patient_union", "patient_late"] = Field(
        default="slide",
        description="What is classified: each slide; a patient's slides as one bag; or each slide,"
        " a patient's probabilities being the mean over its slides",
    )
    linear: RidgeSettings = Field(
        default=RidgeSettings.model_validate({}), description="How method linear is fitted"
    )
    resident_gib: float = Field(
        default=4.0,
        ge=0,
        description="Features up to this size (GiB) are held in memory, else mapped",
    )
    fit: SlideFitSettings = Field(
        default=SlideFitSettings.model_validate({}), description="How the weights are fitted"
    )

    @classmethod
    def method_names(cls) -> tuple[str, ...]:
        """Return the methods that there are."""
        added = (f"{name}+{kind}" for name in METHODS for kind in GENERALISERS)
        return (*METHOD_NAMES, *added)

    def check_method(self, method: str, n_classes: int) -> None:
        """Refuse a method that cannot be trained with these settings, before anything is read.

        Raises
        ------
        InputError
            Code ``unknown_method``, ``unknown_algorithm``, ``unfit_head``; ``loss_decided`` (the settings name a loss, the method
            another); ``corrected_twice`` (loss and batches both make up for the class counts);
            ``narrow_projection``: fewer numbers than classes, where each class needs its direction.
        """
        check_method_name(method)
        if method in METHOD_NAMES and method not in METHODS:
            return
        evens = None if self.sampler is None else self.sampler.evens_classes
        check_loss(method, self.model.loss.kind, sampler_evens=evens)
        contrast = self.model.contrast or ContrastSettings.model_validate({})
        if method_named(method).contrast == "prototypes" and contrast.projection < n_classes:
            raise InputError(
                f"a projection of {contrast.projection} numbers has no directions for"
                f" {n_classes} classes, which method {method} needs",
                remedy=f"Set model.contrast.projection to {n_classes} or more",
                code="narrow_projection",
            )
