"""How a model of photographs is trained: everything that a configuration can say of it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from offsite.retina.linear.settings import LinearSettings
from offsite.retina.methods import LINEAR, METHODS, check_method_name
from offsite.settings import Settings
from offsite.training.fit.settings import FitSettings
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.settings import LossSettings
from offsite.training.modality import TrainingSettings
from offsite.training.samplers.settings import SamplerSettings
from offsite.training.trunk.settings import StageName, StatisticName, TrunkReadingSettings

BackboneName = Literal[
    "thin_resnet18",
    "resnet18",
    "resnet50",
    "densenet121",
    "efficientnet-b0",
    "efficientnet-lite0",
    "timm",
]
TRUNK: Literal["efficientnet-lite0"] = "efficientnet-lite0"
HeadName = Literal["linear", "corn", "grade"]
Weighting = Literal["none", "power", "complement", "effective"]


class BackboneSettings(Settings):
    """Which network, and where it is parted for methods that mix features."""

    name: BackboneName = Field(
        default="thin_resnet18",
        description="thin_resnet18 is ours, for processors; efficientnet-lite0 comes with ImageNet"
        " weights; timm: any network of that package, which is optional; the others are MONAI's.",
    )
    timm: str | None = Field(
        default=None, description="Name of the network for backbone timm, as convnext_tiny"
    )
    width: int = Field(
        default=16, ge=4, le=64, description="Channels of thin_resnet18's first stage; 64 is full."
    )
    split_after: int = Field(
        default=2,
        ge=0,
        le=3,
        description="Residual stage after which features are mixed; 0: after the stem",
    )
    weights: Path | None = Field(
        default=None,
        description="Local file of first weights (.safetensors or .pth state dictionary, names as"
        " in torchvision, or in timm for its networks); none: random, or those in the box.",
    )
    frozen: bool = Field(
        default=False,
        description="Whether efficientnet-lite0 is not trained: it runs once, and a method trains its"
        " head on the statistics of the stages named below",
    )
    frozen_stages: int = Field(
        default=0,
        ge=0,
        le=4,
        description="First stages of efficientnet-lite0, the stem counted, that are not trained while"
        " the others are: they run once for each copy of a photograph, and what they see is kept",
    )
    frozen_copies: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Augmented copies of each training photograph that frozen stages read; every draw"
        " takes one of them",
    )
    frozen_norms: bool = Field(
        default=False,
        description="Whether batch norms of efficientnet-lite0 keep the statistics that they came with"
        " while it is trained",
    )
    rate_by_depth: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Factor of the learning rate from each part of the network to the one before it,"
        " beginning with the last; 1: all learn alike. Below 1 early stages keep more of their first"
        " weights",
    )
    stages: Literal["all", "late", "last"] | tuple[StageName, ...] = Field(
        default="all",
        description="Stages of efficientnet-lite0 that method linear or a frozen backbone reads",
    )
    crops: int = Field(
        default=0,
        ge=0,
        le=8,
        description="Overlapping crops a side that a frozen efficientnet-lite0 reads of a photograph, and"
        " that attention pools; 0: the photograph as a whole",
    )
    crop_px: int = Field(
        default=224, ge=32, le=1024, description="Side of a crop, px of the prepared photograph"
    )
    statistics: tuple[StatisticName, ...] = Field(
        default=("mean", "deviation"),
        min_length=1,
        description="Numbers of each channel that these read, within the field of view",
    )

    @model_validator(mode="after")
    def _names_a_network(self) -> Self:
        if (self.name == "timm") != (self.timm is not None):
            raise ValueError("backbone timm, and it alone, needs the name of a network in 'timm'")
        if self.frozen and self.name != TRUNK:
            raise ValueError(f"a frozen backbone is {TRUNK}: set backbone.name to it")
        if self.crops == 1 or (self.crops and not self.frozen):
            raise ValueError("crops (two a side or more) are read by a frozen backbone: set frozen")
        if (self.frozen_stages or self.frozen_norms) and (self.name != TRUNK or self.frozen):
            raise ValueError(
                f"frozen_stages and frozen_norms are of {TRUNK} while the rest of it is trained"
            )
        if self.frozen_stages > self.split_after + 1:
            raise ValueError("features are mixed after the frozen stages: raise split_after")
        self.reading()
        return self

    def reading(self) -> TrunkReadingSettings:
        """Return what method linear reads of the trunk."""
        return TrunkReadingSettings(stages=self.stages, statistics=self.statistics, region="disc")


class DecoSettings(Settings):
    """Every part of DECO, each with a switch. The defaults are our reading of the whole."""

    anchors: Literal["class_uniform", "instance", "site_class_uniform"] = Field(
        default="class_uniform", description="How anchors are drawn; partners: a uniform other site"
    )
    swap: bool = Field(default=True, description="Put the partner's style on the anchor")
    class_prototypes: bool = Field(
        default=True, description="Mix semantics with the running mean of their class"
    )
    site_prototypes: bool = Field(
        default=True, description="Mix the partner's style with the running mean of its site"
    )
    weighting: Weighting = Field(
        default="power",
        description="How much of themselves rare classes and sites keep; none is TALLY."
        " Our construction, the direction is DECO's",
    )
    gamma: float = Field(default=0.05, ge=0, description="Exponent of weighting 'power'; 0 = none")
    beta: float = Field(default=0.999, ge=0, lt=1, description="Overlap of weighting 'effective'")
    mixing_alpha: float = Field(
        default=0.1,
        gt=0,
        description="Beta(alpha, alpha) of the mixing share, which is then >= 1/2. Small: a class's"
        " prototype tells the class, so its share must be small; our construction, TALLY has 0.5",
    )
    momentum: float = Field(default=0.8, ge=0, lt=1, description="Of the prototypes, per batch")
    restandardise: bool = Field(
        default=False, description="Give mixed semantics unit contrast again; our construction"
    )
    original_weight: float | None = Field(
        default=None,
        ge=0,
        description="Weight of the unmixed photographs' loss; none: 1 / (sites - 1), with which a"
        " site's style foretells no class (our construction); 0 is TALLY",
    )
    alignment: float = Field(
        default=0.1, ge=0, description="Weight of the semantic alignment; our construction"
    )
    pixel_share: float = Field(
        default=0.7, ge=0, le=1, description="Share of the pixel term in it, the rest by class"
    )
    margin: float = Field(
        default=0.1, ge=0, le=1, description="Disagreement that the pixel term allows"
    )
    temperature: float = Field(default=0.1, gt=0, description="Of the class term")
    warmup: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of the epochs (at least one, unless 0) of plain training that fills the"
        " prototypes",
    )

    @property
    def mixes(self) -> bool:
        """Whether any part changes the features; if not, this is the sampler's control."""
        return self.swap or self.class_prototypes


class GdrnetSettings(Settings):
    """GDRNet's constants."""

    smoothing: float = Field(
        default=0.5, ge=0, le=1, description="Exponent on the shares of classes and sites"
    )
    temperature: float = Field(
        default=0.1, gt=0, description="Of the contrast of two views; the paper: 0.01 for one site"
    )
    scale: float = Field(default=4.0, gt=0, description="Divides the contrast of two views")


class FundusFitSettings(FitSettings):
    """How the weights of a model of photographs are fitted."""

    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate (per step)")
    select_by: str = Field(default="auc", description="Validation score that selects the weights")
    mode: Literal["max", "min"] = Field(
        default="max",
        description="Whether a higher or lower score wins; by default as the score is meant",
    )


_GENERAL = GeneralisationSettings.model_validate({})
_LOSS = LossSettings.model_validate({})


class RetinaSettings(TrainingSettings):
    """How a model of photographs is trained."""

    method: str = Field(default=LINEAR, description="Method, by name")
    backbone: BackboneSettings = Field(default=BackboneSettings(), description="The network")
    deco: DecoSettings = Field(default=DecoSettings(), description="Of DECO and its relatives")
    gdrnet: GdrnetSettings = Field(default=GdrnetSettings(), description="Of GDRNet")
    general: GeneralisationSettings = Field(
        default=_GENERAL, description="Of the other methods; the method sets the kind"
    )
    linear: LinearSettings = Field(default=LinearSettings(), description="Of method linear")
    loss: LossSettings = Field(default=_LOSS, description="Classification loss (not GDRNet's)")
    head: HeadName = Field(
        default="linear", description="Nominal grades, CORN's thresholds, or a real-valued grade"
    )
    sampler: SamplerSettings | None = Field(
        default=None,
        description="How photographs (anchors of pairs) are drawn, in place of the method's batches",
    )
    batch_size: int = Field(default=32, ge=2, le=4096, description="Photographs (pairs) in a batch")
    augmentation: Literal["none", "geometry", "standard", "cameras"] = Field(
        default="standard",
        description="Of every method: turns and zooms, with mild changes of light and colour, or with"
        " the resolution, sharpness and colours of another camera; GDRNet adds its artefacts in a"
        " second view",
    )
    resident_gib: float = Field(
        default=4.0, ge=0, description="Pictures up to this size (GiB) are held in memory"
    )
    fit: FundusFitSettings = Field(
        default=FundusFitSettings.model_validate({}), description="How the weights are fitted"
    )

    @classmethod
    def method_names(cls) -> tuple[str, ...]:
        """Return the methods that there are."""
        return (*METHODS, LINEAR)

    def check_method(self, method: str, n_classes: int) -> None:
        """Refuse an unknown method, before anything is read.

        Raises
        ------
        InputError
            Code ``unknown_method``.
        """
        check_method_name(method)
