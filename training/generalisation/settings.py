"""Which domain-generalisation algorithm."""

from typing import Annotated, Literal

from pydantic import Field

from offsite.registry import OneOf
from offsite.settings import Settings
from offsite.training.generalisation.names import ALGORITHMS

GeneralAlgorithm = Annotated[str, OneOf(ALGORITHMS)]


class GeneralisationSettings(Settings):
    """Which algorithm and how strong; fields of the others are not read."""

    kind: GeneralAlgorithm = Field("erm", description="The algorithm")
    penalty_weight: float | None = Field(
        None, ge=0, description="coral, irm, vrex, fishr: weight; default as in DomainBed"
    )
    penalty_start: float | None = Field(
        None, ge=0, le=1, description="coral, irm, vrex, fishr: progress from which it acts in full"
    )
    eta: float = Field(0.01, ge=0, description="group_dro: how fast the sites' weights move")
    decay: float = Field(0.95, ge=0, lt=1, description="fishr: smoothing of variances, per step")
    alpha: float = Field(0.2, gt=0, description="mixup, mixstyle: Beta(alpha, alpha) of shares")
    probability: float = Field(0.5, ge=0, le=1, description="mixstyle: share of batches mixed")
    layers: tuple[str, ...] = Field(
        ("layer1", "layer2"), description="mixstyle: layers of the backbone behind which to mix"
    )
    other_site: bool = Field(True, description="mixup, mixstyle: partners from another site")
    decoupled: float = Field(
        0.0,
        ge=0,
        description="mixup: weight of the decoupled term, in which each of two classes is judged"
        " without the other; of three classes or more",
    )
    until: float = Field(
        1.0, ge=0, le=1, description="mixup: progress from which training is plain; 1: to the end"
    )
    pairs: Literal["any", "adjacent"] = Field(
        "any", description="mixup: partners of any class, or of the same or a neighbouring grade"
    )
