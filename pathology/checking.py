"""Whether a job of slides can be done, asked before anything is computed."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from offsite.errors import InputError
from offsite.pathology.stages import features_of
from offsite.pathology.tile_encoders.names import needs
from offsite.training.checking import missing_package, no_weights
from offsite.training.modality import ImageJob
from offsite.training.vision_packages import remedy_for

_SLIDE_BYTES = 20_000
"""Less than a slide's features ever take."""


def encoder_faults(job: ImageJob) -> Iterator[InputError]:
    """Every slide has features, or there is an encoder with its weights to make them."""
    from offsite.pathology.features.folders import locate

    features = features_of(job)
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
            remedy="Set encoder.weights (`offsite encoder list` says of which kind), or put features"
            f" that were made elsewhere into {features}",
            code="encoder_weights",
        )


def package_faults(job: ImageJob) -> Iterator[InputError]:
    """The optional package of the encoder is installed."""
    name = job.configuration.encoder.name
    package = needs(name).package
    if package and find_spec(package) is None:
        remedy = remedy_for("foundation")  # by itself the package would bring another torch
        yield missing_package(job.file, package, f"encoder '{name}'", remedy)


def bytes_to_do(job: ImageJob) -> int:
    """Return the least that the features of the slides still to embed take."""
    features = features_of(job)
    done = sum(1 for _ in features.glob("*.h5")) if features.is_dir() else 0
    return max(len(job.cohort.table) - done, 0) * _SLIDE_BYTES
