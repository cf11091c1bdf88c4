"""The tile encoders as `offsite encoder` asks for them."""

from typing import get_args

from offsite.pathology.tile_encoders.checking import check_encoder, encoder_named, list_encoders
from offsite.pathology.tile_encoders.registry import EncoderName, load_encoder
from offsite.training.encoders import EncoderBench, TwinWork


def _twins() -> TwinWork:
    from offsite.pathology import twins

    return TwinWork(
        synthetic=twins.synthetic,
        matched=twins.matched,
        encoded=twins.encoded,
        answers=twins.answers,
        control="colour_baseline",
    )


BENCH = EncoderBench(
    setting="encoder",
    names=get_args(EncoderName),
    entries=list_encoders,
    named=encoder_named,
    load=load_encoder,
    properties=check_encoder,
    twins=_twins,
)
