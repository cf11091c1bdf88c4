"""Detectors by name, and as arrays in one file."""

from collections.abc import Mapping

import numpy as np

from offsite.evaluation.ood import names
from offsite.evaluation.ood.detector import Detector
from offsite.registry import Registry

DETECTORS: Registry[type[Detector]] = Registry("detector", names.DETECTORS)


def detector_class(name: str) -> type[Detector]:
    """The detector of that name; an unknown name raises ``InputError`` with the known ones."""
    return DETECTORS.named(name)


def detector_from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Detector:
    """The fitted detector ``name`` from its arrays."""
    return detector_class(name).from_arrays(arrays)
