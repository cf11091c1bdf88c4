"""Whether feature files can be learnt from together: one encoder, one kind of tiles."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from offsite.errors import InputError
from offsite.pathology.features.folders import FeatureHeader

_LOG = logging.getLogger(__name__)

# What a file may say of its tiles, and the share by which two slides may differ in it: each slide
# may be read at a tenth off its encoder's scale.
OF_TILES: dict[str, tuple[Callable[[FeatureHeader], float], float]] = {
    "px a side": (lambda header: header.origin.tile_px, 0.0),
    "um per px": (lambda header: header.origin.mpp, 0.25),
    "x magnification": (lambda header: header.magnification, 0.0),
}


def check_one_kind(
    headers: Mapping[str, FeatureHeader], files: Mapping[str, Path]
) -> FeatureHeader:
    """Return the first header; refuse a mix as far as the files say what they were made from.

    Foreign files that name no encoder are taken for one encoder's if they are equally wide; the log
    warns of it once.

    Raises
    ------
    InputError
        Code ``mixed_encoders`` or ``mixed_tiles``.
    """
    name, first = next(iter(headers.items()))
    for slide, other in headers.items():
        if _encoder(other) != _encoder(first):
            raise InputError(
                f"slides '{name}' and '{slide}' have features of different encoders"
                f" ({first.origin.encoder}, {first.dimensions} numbers;"
                f" {other.origin.encoder}, {other.dimensions})",
                file=files[slide],
                remedy="Embed all slides with one encoder",
                code="mixed_encoders",
            )
    for unit, (value_of, tolerance) in OF_TILES.items():
        _check_alike({s: value_of(header) for s, header in headers.items()}, unit, tolerance, files)
    unnamed = sum(not header.names_encoder for header in headers.values())
    if unnamed:
        _LOG.warning(
            "%d feature files do not say which encoder made them (%s, ...): that it was the same for"
            " all cannot be checked",
            unnamed,
            files[name],
        )
    return first


def _encoder(header: FeatureHeader) -> tuple[int, str]:
    return header.dimensions, header.origin.encoder_digest


def _check_alike(
    values: Mapping[str, float], unit: str, tolerance: float, files: Mapping[str, Path]
) -> None:
    given = {slide: value for slide, value in values.items() if value > 0}
    if not given:
        return
    name, reference = next(iter(given.items()))
    for slide, value in given.items():
        if abs(value / reference - 1) > tolerance:
            raise InputError(
                f"slides '{name}' and '{slide}' have features of different tiles"
                f" ({reference:g} and {value:g} {unit})",
                file=files[slide],
                remedy="Extract the features of all slides from one kind of tiles",
                code="mixed_tiles",
            )
