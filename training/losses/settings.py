"""Which classification loss."""

from typing import Literal

from pydantic import Field

from offsite.settings import Settings

LossKind = Literal[
    "cross_entropy",
    "weighted",
    "effective_number",
    "focal",
    "ldam_drw",
    "balanced_softmax",
    "logit_adjustment",
]


class LossSettings(Settings):
    """Which classification loss; fields of the other kinds are not read."""

    kind: LossKind | None = Field(
        None, description="The loss of the classifier; unset: the method's own, else cross_entropy"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Target share spread over all classes (cross_entropy)"
    )
    weight_exponent: float = Field(
        1.0, ge=0, le=1, description="weighted: class weights in proportion to n^-exponent"
    )
    beta: float = Field(
        0.999, ge=0, lt=1, description="effective_number and ldam_drw: overlap of items"
    )
    gamma: float = Field(2.0, ge=0, description="focal: focus on hard items")
    tau: float = Field(1.0, ge=0, description="logit_adjustment: strength")
    margin: float = Field(0.5, gt=0, description="ldam_drw: margin of the rarest class (cosine)")
    cosine_scale: float = Field(
        30.0, gt=0, description="ldam_drw: factor by which the classifier scales its cosines"
    )
    defer_until: float = Field(
        0.8, ge=0, le=1, description="ldam_drw: progress from which classes are weighted"
    )
