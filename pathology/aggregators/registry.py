"""The registry of aggregators."""

from typing import Literal

from pydantic import Field

from pathology.aggregators.contract import Aggregator
from preprocessing.settings import Settings

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


def build_aggregator(settings: AggregatorSettings, inputs: int, n_classes: int) -> Aggregator:
    """Return the aggregator for instances of ``inputs`` numbers, with random weights."""
    from pathology.aggregators.additive import AdditiveAttention
    from pathology.aggregators.dsmil import DualStream
    from pathology.aggregators.pooling import GatedAttention, MaxPooling, MeanPooling
    from pathology.aggregators.transformer import LandmarkTransformer

    width, inner, dropout = settings.width, settings.attention_width, settings.dropout
    match settings.name:
        case "gated_attention":
            return GatedAttention(inputs, width, inner, dropout)
        case "additive_attention":
            return AdditiveAttention(inputs, width, inner, dropout)
        case "mean":
            return MeanPooling(inputs, width, dropout)
        case "max":
            return MaxPooling(inputs, width, dropout)
        case "dual_stream":
            return DualStream(inputs, width, inner, dropout, n_classes)
        case "transformer":
            return LandmarkTransformer(inputs, width, dropout, settings.heads)
