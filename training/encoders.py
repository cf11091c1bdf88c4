"""Encoders of a modality whose images become features before training, as `offsite encoder` asks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

VOCABULARY = "vocabulary"
"""Folder, below a job's output, of the tissue words of its runs."""
VOCABULARY_FILES = (
    "words.csv", "examples.csv", "words.png", "words.safetensors", "vocabulary.json",
)  # fmt: skip
LEAST_KEPT = 0.5
"""Share of the log-odds that words must keep, to be told of a run and to go with a package."""
LOOKED_AT = 40
"""Training images, at most, whose tiles are shown to the encoder under other stains."""


@dataclass(frozen=True, kw_only=True)
class EncoderEntry:
    """A line of the list of encoders.

    Attributes
    ----------
    name : str
        Name in the registry.
    ready : bool
        Whether it can be used here as it is.
    dimensions : int or None
        Length of a feature vector; None where it cannot be loaded.
    needs : str
        What it lacks, in a sentence; empty where it lacks nothing.
    """

    name: str
    ready: bool
    dimensions: int | None
    needs: str = ""


@dataclass(frozen=True, kw_only=True)
class EncoderProperty:
    """Something that every encoder must do, and whether this one does it."""

    name: str
    holds: bool
    sentence: str


class Encoder(Protocol):
    """A loaded encoder."""

    name: str
    digest: str
    tile_px: int
    mpp: float


@dataclass(frozen=True)
class TwinPlaces:
    """Features of one encoder at the places that twins share.

    Attributes
    ----------
    tiles : pandas.DataFrame
        ``slide, tissue, site, label, place``, a row for each feature vector.
    features : numpy.ndarray
        float64, rows x D.
    digest : str
        Of the encoder.
    failed : pandas.DataFrame
        Images without features, with ``slide, message``.
    """

    tiles: pd.DataFrame
    features: np.ndarray
    digest: str
    failed: pd.DataFrame


@dataclass(frozen=True)
class TwinWork:
    """What twins need of a modality: the same tissue as several sites would show it.

    Attributes
    ----------
    synthetic : callable
        ``synthetic(folder, tissues, workers) -> (table, classes)``: twins made where none are given.
    matched : callable
        ``matched(configuration, cohort, folder, most, workers, advance)``: a row for each image with
        ``slide, tissue, site, label, places, reason``.
    encoded : callable
        ``encoded(cohort, matched, folder, settings, workers, advance) -> TwinPlaces``.
    answers : callable
        ``answers(run_folder, architecture, images)``: the class index that a run gives each image,
        from its features (n x D each).
    control : str
        The encoder that sees nothing but what sites differ in.
    """

    synthetic: Callable[[Path, int, int], tuple[Path, tuple[str, ...]]]
    matched: Callable[..., pd.DataFrame]
    encoded: Callable[..., TwinPlaces]
    answers: Callable[[Path, Any, Sequence[np.ndarray]], list[int]]
    control: str


@dataclass(frozen=True, eq=False)
class TissueWords:
    """The kinds of tiles that a run's images show, and what its answers rest on.

    Attributes
    ----------
    kept : float
        Share of the answers' log-odds that is kept with words in the place of tiles.
    judged : int
        Images, not trained on, that it was measured with.
    arrays : dict of str to numpy.ndarray
        What tells a tile's word, float32.
    tables : dict of str to pandas.DataFrame
        ``words``: a row for each image or patient with the share of each word and the fall of the
        log-odds without it; ``examples``: where the tiles of the sheet lie.
    sheet : numpy.ndarray
        uint8 RGB: a row of tiles for each word.
    """

    kept: float
    judged: int
    arrays: dict[str, np.ndarray]
    tables: dict[str, pd.DataFrame]
    sheet: np.ndarray


@dataclass(frozen=True)
class EncoderBench:
    """What can be asked of a modality's encoders; networks are imported by its functions.

    Attributes
    ----------
    setting : str
        The part of a job's configuration that names one; it has ``name``, ``weights``, ``device``.
    names : tuple of str
        The names that there are.
    entries : callable
        Every encoder, each loaded where it can be.
    named : callable
        ``named(text, like)``: settings of ``NAME`` or ``NAME=WEIGHTS``, the rest as in ``like``.
    load : callable
        The encoder of such settings.
    properties : callable
        What every other part relies on, tried on a loaded encoder.
    twins : callable
        What twins need.
    words : callable, optional
        ``words(job, divided, run_folder, number, least, place, advance)``: the words of a run, at
        most so many, refused where they keep less than the least share of the log-odds.
    """

    setting: str
    names: tuple[str, ...]
    entries: Callable[[], Iterator[EncoderEntry]]
    named: Callable[[str, Any], Any]
    load: Callable[[Any], Encoder]
    properties: Callable[[Any], list[EncoderProperty]]
    twins: Callable[[], TwinWork]
    words: Callable[..., TissueWords] | None = None
