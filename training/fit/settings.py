"""Settings of the fit loop."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from offsite.files import digest_of
from offsite.settings import Settings
from offsite.training.schedules import scheduled, warmed_up

# Settings that change how a run is carried out and not what comes of it.
_OUTWARD = {"device", "checkpoint_every_steps", "checkpoint_every_seconds", "prefetch"}
_ROUNDING = 1e-9
# Whether a higher or a lower value of a score is the better one.
_DIRECTIONS: dict[str, Literal["max", "min"]] = {
    "loss": "min",
    "accuracy": "max",
    "auc": "max",
    "balanced_accuracy": "max",
    "kappa": "max",
    "macro_auroc": "max",
    "macro_f1": "max",
    "referable_auc": "max",
}


class FitSettings(Settings):
    """How an algorithm is fitted. Equal settings, data and seed give equal weights."""

    epochs: int = Field(20, ge=1, description="Passes of the batch source (epochs)")
    learning_rate: float = Field(3e-4, gt=0, description="Peak learning rate (per step)")
    weight_decay: float = Field(1e-4, ge=0, description="Decoupled (adamw) or L2 (sgd) decay")
    optimiser: Literal["adamw", "sgd"] = Field(
        "adamw", description="AdamW, or SGD with Nesterov momentum"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd; unused by adamw")
    schedule: Literal["cosine", "step", "constant"] = Field(
        "cosine", description="Course of the learning rate over progress"
    )
    step_at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5,), description="Progress at which schedule 'step' divides the rate by ten"
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="Share of progress of linear warm-up of the learning rate"
    )
    gradient_clip: float = Field(
        0.0, ge=0, description="Largest L2 norm of the gradient; 0 = no clipping"
    )
    averaging: Literal["none", "ema", "swad"] = Field(
        "none", description="Weights that are validated and kept: raw, moving average, or SWAD"
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Decay of the moving average, per step")
    swad_by: str = Field("loss", description="Validation score that SWAD takes as its loss")
    swad_converged: int = Field(3, ge=1, description="Epochs without a lower loss that open SWAD")
    swad_patience: int = Field(6, ge=1, description="Epochs above tolerance that close SWAD")
    swad_tolerance: float = Field(
        0.3, ge=0, description="Rise of the loss (share) that SWAD allows"
    )
    select_by: str = Field("loss", description="Validation score that selects the weights")
    mode: Literal["max", "min"] = Field(
        "min", description="Whether a higher or lower score wins; by default as the score is meant"
    )
    select_after: float = Field(
        0.0, ge=0, le=1, description="Progress before which no weights may be selected"
    )
    fewest_validated: int = Field(
        10,
        ge=0,
        description="Validation patients of each class that it takes to compare epochs; with fewer of"
        " one, the last epoch is kept; 0 = epochs are always compared",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Epochs without a better score after which training stops, where epochs are compared",
    )
    stop_after: int | None = Field(
        None,
        ge=1,
        description="Epochs after which training ends, in the middle of the schedule; unset = all",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 = autocast; weights stay float32"
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Where the run computes"
    )
    checkpoint_every_steps: int | None = Field(
        None, ge=1, description="Steps between checkpoints, counted over the run"
    )
    checkpoint_every_seconds: float = Field(
        60.0, ge=0, description="Seconds between checkpoints; 0 = after every step"
    )
    prefetch: int = Field(2, ge=0, le=64, description="Batches read ahead by a thread; 0 = none")
    seed: int = Field(0, ge=0, description="Seed of everything random in training")

    @model_validator(mode="before")
    @classmethod
    def _as_the_score_is_meant(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "mode" in given:
            return given
        score = given.get("select_by", cls.model_fields["select_by"].default)
        if not isinstance(score, str):
            return given  # refused as what it is
        if score not in _DIRECTIONS:
            raise ValueError(f"mode must say whether a higher or lower '{score}' is better")
        return {**given, "mode": _DIRECTIONS[score]}

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if list(self.step_at) != sorted(self.step_at):
            raise ValueError("step_at must rise")
        meant = _DIRECTIONS.get(self.select_by, self.mode)
        if self.mode != meant:
            raise ValueError(
                f"mode '{self.mode}' selects the worst '{self.select_by}': use {meant}"
            )
        if _DIRECTIONS.get(self.swad_by, "min") == "max":
            raise ValueError(f"swad_by needs a loss, and of '{self.swad_by}' the highest is best")
        return self

    @property
    def last_epochs(self) -> int:
        """Epochs that are trained, unless patience runs out."""
        return min(self.epochs, self.stop_after or self.epochs)

    def selectable(self, epoch: int) -> bool:
        """Say whether ``epoch`` (from 0) ends late enough for its weights to be selected."""
        return (epoch + 1) / self.epochs >= self.select_after - _ROUNDING

    def learning_rate_at(self, progress: float) -> float:
        """Return the learning rate at ``progress`` in [0, 1]."""
        if self.schedule == "step":
            course = 0.1 ** sum(progress >= at for at in self.step_at)
        else:
            course = scheduled(self.schedule, progress)
        return self.learning_rate * course * warmed_up(progress, self.warmup)

    def outcome_digest(self) -> str:
        """Return a digest of the settings that the weights depend on."""
        return digest_of(self.model_dump(mode="json", exclude=_unused(self)))


def outcome_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings of a run (JSON-able) that its result depends on.

    Those that say where and how it is carried out are left out: whoever changes one of them still
    finds a finished run done, and a killed one goes on.

    Parameters
    ----------
    settings : Settings
        Of a modality's training, with ``fit`` and ``resident_gib``.
    """
    fit: FitSettings = settings.fit  # type: ignore[attr-defined]
    return settings.model_dump(mode="json", exclude={"resident_gib": True, "fit": _unused(fit)})


def _unused(fit: FitSettings) -> set[str]:
    """Settings that no weight depends on: runs of versions without ``stop_after`` stay what they are."""
    return _OUTWARD | ({"stop_after"} if fit.stop_after is None else set())
