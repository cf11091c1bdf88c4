"""The registry of aggregators."""

from typing import Literal

from pydantic import Field

from pathology.aggregators.contract import Aggregator
from preprocessing.settings import Settings

AggregatorName = Literal["gated_attention", "mean", "max"]


class AggregatorSettings(Settings):
    """How the instances of a bag become one embedding."""

    name: AggregatorName = Field(default="gated_attention", description="Aggregator")
    width: int = Field(
        default=128, ge=1, le=8192, description="Width of the bag embedding (numbers)"
    )
    attention_width: int = Field(
        default=64, ge=1, le=8192, description="Width of the attention (numbers)"
    )
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Share of units dropped in training"
    )


def build_aggregator(settings: AggregatorSettings, inputs: int) -> Aggregator:
    """Return the aggregator for instances of ``inputs`` numbers, with random weights."""
    from pathology.aggregators.pooling import GatedAttention, MaxPooling, MeanPooling

    width, dropout = settings.width, settings.dropout
    if settings.name == "gated_attention":
        return GatedAttention(inputs, width, settings.attention_width, dropout)
    if settings.name == "mean":
        return MeanPooling(inputs, width, dropout)
    return MaxPooling(inputs, width, dropout)
