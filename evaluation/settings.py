"""Settings of the tables."""

from typing import Literal

from pydantic import Field, model_validator

from offsite.settings import Settings


class TaskSettings(Settings):
    """A grouping of classes into positive and negative, such as referable retinopathy."""

    positive_classes: tuple[str, ...] = Field(
        min_length=1, description="Names of the classes that count as positive"
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Stated threshold (0..1): positive where the summed probability is at or over it",
    )
    target_sensitivity: float = Field(
        default=0.9,
        gt=0,
        lt=1,
        description="Sensitivity (0..1) that the threshold chosen on training sites must reach",
    )
    reference_prevalence: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Prevalence (0..1) at which sites are compared; unset: that of the "
        "training sites' validation rows, or of all test rows where there are none",
    )
    cost_false_negative: float = Field(
        default=10.0, ge=0, description="Cost of a missed positive, in units of your choice"
    )
    cost_false_positive: float = Field(
        default=1.0, ge=0, description="Cost of a false alarm, in the same units"
    )


class EvaluationSettings(Settings):
    """How the per-site tables are made."""

    tasks: dict[str, TaskSettings] = Field(
        default_factory=dict,
        description="Named binary tasks over the classes; unset with two classes: the second class",
    )
    ordered: bool | None = Field(
        default=None,
        description="Whether the classes are grades in order, the mildest first: weighted kappas are "
        "given then; unset: yes, but of a table of others only where it names its classes",
    )
    resamples: int = Field(default=1000, ge=100, le=20_000, description="Bootstrap draws (number)")
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Confidence of intervals (0..1)"
    )
    unit: Literal["patient", "image"] = Field(
        default="patient",
        description="What is drawn: patients with all their images, or single images",
    )
    stratified: bool = Field(
        default=False,
        description="Draw within classes (a patient's highest class), so that each draw has all "
        "of them; the interval is then for the site's own prevalence",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the draws")
    minimum_rows: int = Field(
        default=10, ge=2, description="Fewest labelled images of a site for a metric to be given"
    )
    minimum_of_class: int = Field(
        default=2,
        ge=1,
        description="Fewest images of a class, and of all others, for a metric of that class",
    )
    minimum_defined: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share (0..1) of draws in which a metric must be defined to have an interval",
    )
    next_hospital_spread: float = Field(
        default=0.5,
        gt=0,
        description="Scale of the half-normal prior on how hospitals differ, on the logit (and log) "
        "scale, for the narrower interval of the next hospital",
    )
    next_hospital_spread_of_kappas: float = Field(
        default=0.2, gt=0, description="The same on Fisher's scale, for kappas"
    )
    calibration_bins: int = Field(
        default=15, ge=2, le=100, description="Bins of equal mass in calibration errors (number)"
    )
    calibration_simulations: int = Field(
        default=500,
        ge=50,
        description="Simulated label sets of a perfectly calibrated model, for its band (number)",
    )
    alarm_level: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Familywise level (0..1) of all alarms of a page together",
    )
    net_benefit_thresholds: tuple[float, ...] = Field(
        default=tuple(round(0.05 * step, 2) for step in range(1, 19)),
        min_length=1,
        description="Threshold probabilities (0..1) of the decision curves",
    )

    @model_validator(mode="after")
    def _task_names(self) -> "EvaluationSettings":
        for name in self.tasks:
            if not name or "/" in name or name.startswith("_"):
                raise ValueError(f"task name '{name}': use letters, without '/' or a leading '_'")
        if any(not 0 < value < 1 for value in self.net_benefit_thresholds):
            raise ValueError("net_benefit_thresholds lie strictly between 0 and 1")
        return self


class SelectiveSettings(Settings):
    """How selective prediction is measured; confidence is the largest probability."""

    coverages: tuple[float, ...] = Field(
        default=(0.8, 0.9), min_length=1, description="Shares (0..1) of cases that are answered"
    )
    points: int = Field(default=101, ge=2, description="Points of a risk-coverage curve, at most")
    resamples: int = Field(
        default=500, ge=50, description="Draws of the per-site tables that are used, at most"
    )


class ConformalSettings(Settings):
    """How prediction sets are calibrated."""

    levels: tuple[float, ...] = Field(
        default=(0.9, 0.95), min_length=1, description="Wanted coverages (0..1) of the table"
    )
    ordered: bool = Field(
        default=False, description="Whether classes are grades in order: sets are then contiguous"
    )
    by_class: bool = Field(default=True, description="A threshold for each class of its own")
    by_site: bool = Field(
        default=True, description="A threshold for each site of its own where it has the rows"
    )
    minimum_bin: int = Field(
        default=50, ge=1, description="Fewest calibration rows of a site's own bin; else its parent"
    )
    weighted: bool = Field(
        default=True, description="Also sets weighted by a domain classifier for held-out sites"
    )
    weight_limit: float = Field(
        default=20.0, gt=1, description="Largest density ratio, and one over the smallest"
    )
    folds: int = Field(default=5, ge=2, description="Patient-grouped folds of that classifier")
    seed: int = Field(default=0, ge=0, description="Seed of the folds")


class ShiftSettings(Settings):
    """How sites are compared with the in-distribution test."""

    misfit_level: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="A prior estimated without labels is withheld where label shift fails its test "
        "at this level (0..1)",
    )
    permutations: int = Field(
        default=500,
        ge=19,
        description="Permutations of patients of each two-sample test; where none reaches what was "
        "seen more are taken, so that an alarm is possible among many sites",
    )
    resamples: int = Field(
        default=500, ge=50, description="Draws of the per-site tables that are used, at most"
    )
    max_rows: int = Field(
        default=1000, ge=50, description="Rows of a sample in kernel and classifier tests, at most"
    )
    minimum_rows: int = Field(
        default=20, ge=5, description="Fewest rows on either side for a comparison"
    )
    folds: int = Field(default=5, ge=2, description="Patient-grouped folds of classifier tests")
    ridge: float = Field(
        default=0.1,
        gt=0,
        description="Ridge of classifier tests, as a share of the mean squared feature norm",
    )
    components: int = Field(
        default=64,
        ge=1,
        description="Principal directions in which Fréchet, CORAL and mean distances are taken",
    )
    null_splits: int = Field(
        default=40, ge=19, description="Random halves of the reference behind a distance's null"
    )
    neighbours: tuple[int, ...] = Field(
        default=(5, 10, 20, 40),
        min_length=1,
        description="Neighbour counts among which the robustness index takes the one that "
        "classifies best",
    )
    seed: int = Field(default=0, ge=0, description="Seed of permutations, folds and resamples")
