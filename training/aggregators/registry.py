"""The registry of aggregators."""

from offsite.training.aggregators.contract import Aggregator
from offsite.training.aggregators.settings import AggregatorSettings


def build_aggregator(settings: AggregatorSettings, inputs: int, n_classes: int) -> Aggregator:
    """Return the aggregator for instances of ``inputs`` numbers, with random weights."""
    from offsite.training.aggregators.additive import AdditiveAttention
    from offsite.training.aggregators.dsmil import DualStream
    from offsite.training.aggregators.pooling import GatedAttention, MaxPooling, MeanPooling
    from offsite.training.aggregators.transformer import LandmarkTransformer

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
