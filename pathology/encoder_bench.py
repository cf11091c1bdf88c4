"""The tile encoders as `offsite encoder` asks for them."""

from typing import Any

from offsite.pathology.tile_encoders.checking import check_encoder, encoder_named, list_encoders
from offsite.pathology.tile_encoders.names import encoder_names
from offsite.pathology.tile_encoders.registry import load_encoder
from offsite.training.encoders import EncoderBench, TissueWords, TwinWork


def _twins() -> TwinWork:
    from offsite.pathology import twins

    return TwinWork(
        synthetic=twins.synthetic,
        matched=twins.matched,
        encoded=twins.encoded,
        answers=twins.answers,
        control="colour_baseline",
    )


def _words(*given: Any) -> TissueWords:
    from offsite.pathology.vocabulary.making import tissue_words

    return tissue_words(*given)


BENCH = EncoderBench(
    setting="encoder",
    names=encoder_names(),
    entries=list_encoders,
    named=encoder_named,
    load=load_encoder,
    properties=check_encoder,
    twins=_twins,
    words=_words,
)
