"""Detectors by name, and as arrays in one file."""

from collections.abc import Mapping

import numpy as np

from offsite.errors import InputError
from offsite.evaluation.ood.detector import Detector
from offsite.evaluation.ood.gaussian_detectors import (
    Mahalanobis,
    RelativeMahalanobis,
    Residual,
    Vim,
)
from offsite.evaluation.ood.logit_detectors import Energy, Gen, MaxLogit, Msp, React
from offsite.evaluation.ood.neighbour_detectors import Fdbd, Knn, NNGuide, She

DETECTORS: dict[str, type[Detector]] = {
    kind.name: kind
    for kind in (
        Mahalanobis,
        RelativeMahalanobis,
        Residual,
        Vim,
        Knn,
        NNGuide,
        Msp,
        MaxLogit,
        Energy,
        Gen,
        React,
        She,
        Fdbd,
    )
}


def detector_class(name: str) -> type[Detector]:
    """The detector of that name; an unknown name raises ``InputError`` with the known ones."""
    try:
        return DETECTORS[name]
    except KeyError:
        raise InputError(
            f"no detector '{name}'", remedy=f"Known are {', '.join(sorted(DETECTORS))}"
        ) from None


def detector_from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Detector:
    """The fitted detector ``name`` from its arrays."""
    return detector_class(name).from_arrays(arrays)
