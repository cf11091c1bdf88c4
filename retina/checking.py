"""Whether a job of photographs can be done, asked before anything is computed."""

from collections.abc import Iterator
from importlib.util import find_spec

from offsite.errors import InputError
from offsite.retina.stages import PREPARE
from offsite.training.checking import missing_package, no_weights
from offsite.training.modality import ImageJob


def weights_faults(job: ImageJob) -> Iterator[InputError]:
    """First weights that the settings name are there."""
    weights = job.configuration.training.backbone.weights
    if weights is not None and not weights.exists():
        yield no_weights(job.file, weights, "training.backbone.weights")


def package_faults(job: ImageJob) -> Iterator[InputError]:
    """The optional package of the backbone is installed."""
    if job.configuration.training.backbone.name == "timm" and find_spec("timm") is None:
        yield missing_package(job.file, "timm", "backbone 'timm'")


def bytes_to_do(job: ImageJob) -> int:
    """Return the least that the photographs still to prepare take."""
    if (job.output / PREPARE.table).is_file():
        return 0
    return len(job.cohort.table) * int(job.configuration.preparation.px) ** 2 // 2
