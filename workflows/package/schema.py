"""What ``model.json`` says: plain data, validated whole, with a unit or a meaning for each field."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, StringConstraints, model_validator

from offsite.settings import Settings
from offsite.training.encoders import LEAST_KEPT

POOLED = "_pooled"
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class Architecture(Settings):
    """Which of offsite's networks this is; the name is looked up among ours, never imported."""

    name: Name = Field(description="Name in offsite's list of networks, e.g. 'sc_mil' or 'deco'")
    settings: dict[str, Any] = Field(default={}, description="Its settings, plain JSON values")


class DecisionRules(Settings):
    """From numbers to what a reader should do; see docs/predict.md for the order of the rules."""

    positive: tuple[Name, ...] = Field(description="Classes that call for referral")
    urgent: tuple[Name, ...] = Field(
        default=(), description="Classes that call for urgent referral"
    )
    ood_percentile: FiniteFloat = Field(
        default=99.0,
        gt=50,
        le=100,
        description="Percentile of the training distribution at or over which a person must look",
    )
    ambiguous_set: Literal[90, 95] = Field(
        default=90, description="Level (%) of the prediction set that must not hold both answers"
    )
    uncalibrated_site: Literal["review", "warn"] = Field(
        default="review",
        description="What becomes of 'no referral' at a site without its own profile",
    )


class Interval(Settings):
    """A value with its 95 % interval."""

    value: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None


class OperatingPoint(Settings):
    """A threshold on the calibrated probability, and where it comes from."""

    threshold: Share = Field(description="Called positive at or over it")
    origin: Name = Field(description="How and on which cases it was chosen")
    target_sensitivity: Share | None = Field(
        default=None, description="Sensitivity it was chosen for"
    )
    interval: tuple[Share | None, Share | None] | None = Field(
        default=None, description="95 % interval of the threshold that reaches it at the site"
    )
    n: int = Field(default=0, ge=0, description="Cases it was chosen on")
    sensitivity: Interval | None = Field(default=None, description="On the cases it was chosen on")
    specificity: Interval | None = Field(default=None, description="On the cases it was chosen on")
    inherited: bool = Field(
        default=False,
        description="Whether it is that of other sites, for want of local cases to set or check it",
    )


class SiteProfile(Settings):
    """How the model is set at one site, or ``_pooled`` for every other one."""

    role: Literal["training", "onboarded", "pooled"] = Field(description="Why there is a profile")
    n: int = Field(ge=0, description="Labelled calibration cases behind it")
    patients: int = Field(default=0, ge=0, description="Patients behind it")
    referral: OperatingPoint | None = Field(
        default=None, description="Probability of a positive class"
    )
    urgent: OperatingPoint | None = Field(
        default=None, description="Probability of an urgent class"
    )
    calibration: str = Field(
        default=POOLED,
        description="Prefix in reference.npz of its calibration: '_pooled' or the site",
    )
    notes: tuple[str, ...] = Field(default=(), description="What could not be fitted, and why")
    refit: dict[str, Any] | None = Field(
        default=None,
        description="What a head refitted with the site's cases was made from, and whether it is used",
    )


class SiteCounts(Settings):
    """The images of one site that the model was made and measured with."""

    site: Name
    role: Literal["training", "held_out", "unknown"]
    images: int = Field(ge=0)
    patients: int = Field(ge=0)
    classes: dict[str, int] = Field(default={}, description="Images of each class; '' = unlabelled")


class SiteResult(Settings):
    """One line of the per-site report; an undefined value is absent with its reason."""

    split: str
    site: Name
    site_role: str = ""
    metric: Name
    value: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    n: int | None = None
    n_positive: int | None = None
    n_patients: int | None = None
    reason: str = "ok"


class WordsOfModel(Settings):
    """The words that answers are told in; ``words/`` of reference.npz tells which is which."""

    names: tuple[
        Annotated[str, StringConstraints(max_length=60, pattern=r"^[^\x00-\x1f]*$")], ...
    ] = Field(min_length=1, max_length=256, description="Of each word, '' where nobody named it")
    kept: FiniteFloat = Field(
        ge=LEAST_KEPT,
        le=1,
        description="Share of the answers' log-odds that is kept with words in the place of tiles",
    )
    judged: int = Field(ge=2, description="Images, not trained on, that it was measured with")


class ModelRecord(Settings):
    """The content of ``model.json``."""

    schema_version: Literal[1, 2] = Field(
        default=2, description="2 since packages carry sums of their training rows"
    )
    name: Name = Field(description="Name of the model")
    version: str = Field(default="", description="Version in the registry, where there is one")
    task: Name = Field(description="What the model reads: slides, photographs, ...")
    target: Name = Field(
        description="What the classes say, e.g. 'diabetic retinopathy, ICDR grade'"
    )
    classes: tuple[Name, ...] = Field(min_length=2, max_length=1000)
    ordinal: bool = Field(
        default=False, description="Whether the classes are grades, from mild to severe"
    )
    architecture: Architecture
    preprocessing: dict[str, Any] = Field(
        description="Settings from file to model-ready input: 'tiles' and 'encoder', or 'fundus'"
    )
    mpp: FiniteFloat | None = Field(default=None, gt=0, description="um per px of the tiles")
    field_of_view: FiniteFloat | None = Field(
        default=None, gt=0, description="Degrees of a photograph"
    )
    decision: DecisionRules
    profiles: dict[Name, SiteProfile] = Field(description="By site, and '_pooled'")
    training_sites: tuple[Name, ...]
    patients: int = Field(ge=0, description="Patients that the weights were fitted on")
    cohort: tuple[SiteCounts, ...] = ()
    results: tuple[SiteResult, ...] = Field(
        default=(), description="What is known of it, site by site"
    )
    limits: tuple[str, ...] = Field(
        default=(), description="What is undefined or not fitted, and why"
    )
    words: WordsOfModel | None = Field(
        default=None, description="Words that its answers are told in, where it has some"
    )
    fingerprints: dict[str, str] = Field(
        default={}, description="Digests of run, splits and cohort"
    )
    versions: dict[str, str] = Field(default={}, description="Packages that decided the numbers")
    created: str = Field(default="", description="UTC, ISO 8601")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class is named twice")
        unknown = {*self.decision.positive, *self.decision.urgent} - set(self.classes)
        if unknown:
            raise ValueError(f"decision names classes the model has not: {sorted(unknown)}")
        if not self.decision.positive or set(self.decision.positive) == set(self.classes):
            raise ValueError("decision.positive must name some of the classes and not all")
        if not set(self.decision.urgent) <= set(self.decision.positive):
            raise ValueError("an urgent class must be a positive one")
        if POOLED not in self.profiles:
            raise ValueError(f"profiles lacks '{POOLED}'")
        for site, profile in self.profiles.items():
            if profile.calibration not in (POOLED, site):
                raise ValueError(f"profile '{site}' takes its calibration from another site")
        return self

    def profile_of(self, site: str) -> tuple[str, SiteProfile]:
        """Return the profile that applies at ``site`` and its name, '_pooled' where it has none."""
        name = site if site in self.profiles and not site.startswith("_") else POOLED
        return name, self.profiles[name]
