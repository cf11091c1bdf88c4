"""Which aggregator, and how wide."""

from typing import Literal, Self

from pydantic import Field, model_validator

from offsite.settings import Settings

AggregatorName = Literal[
    "gated_attention", "additive_attention", "mean", "max", "dual_stream", "transformer"
]


class AggregatorSettings(Settings):
    """How the instances of a bag become one embedding."""

    name: AggregatorName = Field(default="gated_attention", description="Aggregator")
    width: int = Field(
        default=128, ge=1, le=8192, description="Width of the bag embedding (numbers)"
    )
    attention_width: int = Field(
        default=64, ge=1, le=8192, description="Width of the attention (numbers)"
    )
    heads: int = Field(default=4, ge=1, le=64, description="Attention heads of the transformer")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Share of units dropped in training"
    )

    @model_validator(mode="after")
    def _divides_among_heads(self) -> Self:
        if self.name == "transformer" and self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        return self
