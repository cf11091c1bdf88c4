"""Whether a job of slides can be done, asked before anything is computed."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from offsite.errors import InputError, InputErrors
from offsite.pathology.features.source import FeatureSource
from offsite.pathology.stages import features_of, source_of
from offsite.pathology.tile_encoders.names import needs
from offsite.training.checking import missing_package, no_weights
from offsite.training.modality import ImageJob
from offsite.training.vision_packages import remedy_for

_LOG = logging.getLogger(__name__)
_MANY = 0.1
"""The share of slides without usable features from which on a user may have mistaken the folder."""
_SLIDE_BYTES = 20_000
"""Less than a slide's features ever take."""


def encoder_faults(job: ImageJob) -> Iterator[InputError]:
    """Every slide has features, or there is an encoder with its weights to make them."""
    source = source_of(job)
    if source.encoder is not None:
        yield from _folder_faults(job, source)
        return
    from offsite.pathology.features.locating import locate

    features = source.folder
    try:
        if len(locate(features, job.cohort.table["slide"])) == len(job.cohort.table):
            return
    except InputError as error:
        yield error
    encoder = job.configuration.encoder
    needs_none = not needs(encoder.name).weights
    if encoder.weights is not None and not Path(encoder.weights).exists():
        yield no_weights(job.file, Path(encoder.weights), "encoder.weights")
    elif encoder.weights is None and not needs_none and not encoder.download:
        yield InputError(
            f"encoder '{encoder.name}' needs weights",
            file=job.file,
            remedy="Set encoder.weights (`offsite encoder list` says of which kind), or name the folder"
            " of features that were made elsewhere: features.folder",
            code="encoder_weights",
        )


def _folder_faults(job: ImageJob, source: FeatureSource) -> Iterator[InputError]:
    """The folder of another tool's features holds some of the encoder for most of the slides.

    Where many have none, that is said before anything is computed.
    """
    from offsite.pathology.features.external import look_through

    assert source.encoder is not None
    try:
        slides, table = job.cohort.table["slide"], job.cohort.path.name
        looked = look_through(source.folder, slides, source.encoder, table)
    except InputError as error:
        yield from error.faults if isinstance(error, InputErrors) else [error]
        return
    if len(looked.faults) >= _MANY * len(slides):
        slide, (_, why) = next(iter(looked.faults.items()))
        codes = Counter(code for code, _ in looked.faults.values())
        _LOG.warning(
            "%s of %s slides of %s would take no part: %s (%s: %s)",
            len(looked.faults), len(slides), table,
            ", ".join(f"{code} {count}" for code, count in codes.most_common()), slide, why,
        )  # fmt: skip


def refusals(configuration: Any, facts: Mapping[str, Any]) -> Iterator[InputError]:
    """The features that a run was trained on can be made of new slides, or are known by a label."""
    if configuration.features.folder is not None:
        return
    name, digest = str(facts.get("encoder", "")), str(facts.get("encoder_digest", ""))
    if ":" in digest:  # of another tool's file: offsite's own digests are hexadecimal
        yield InputError(
            f"the run was trained on features that another tool made ({name}), and its job says"
            f" encoder {configuration.encoder.name}: nothing could be predicted with the model",
            remedy="Name their folder in the job, features: {folder: ..., encoder: {name: external,"
            " label: ...}}, and train again",
            code="other_encoder",
        )
        return
    from offsite.pathology.tile_encoders.registry import load_encoder

    try:
        encoder = load_encoder(configuration.encoder)
    except InputError:  # the machine that predicts may have its weights or package
        return
    if digest and encoder.digest != digest:
        yield InputError(
            f"the run was trained on features of another encoder ({name}) than the job's"
            f" ({encoder.name}), or of other weights: nothing could be predicted with the model",
            remedy="Restore the encoder in the job, or embed and train again",
            code="other_encoder",
        )


def package_faults(job: ImageJob) -> Iterator[InputError]:
    """The optional package of the encoder is installed."""
    if job.configuration.features.folder is not None:
        return
    name = job.configuration.encoder.name
    package = needs(name).package
    if package and find_spec(package) is None:
        remedy = remedy_for("foundation")  # by itself the package would bring another torch
        yield missing_package(job.file, package, f"encoder '{name}'", remedy)


def bytes_to_do(job: ImageJob) -> int:
    """Return the least that the features of the slides still to embed take."""
    if job.configuration.features.folder is not None:
        return 0
    features = features_of(job)
    done = sum(1 for _ in features.glob("*.h5")) if features.is_dir() else 0
    return max(len(job.cohort.table) - done, 0) * _SLIDE_BYTES
