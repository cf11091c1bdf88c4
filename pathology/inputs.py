"""What is done to the instances before the network reads them, fitted on the training bags alone."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from offsite.pathology.bags import BagTable
from offsite.pathology.features.store import FeatureStore
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.whitening import Moments, whitening

_LEAST_SCALE = 0.1
_MOST_ROWS = 2_000_000


@dataclass(frozen=True, eq=False)
class Inputs:
    """Shift, scale and, where the instances are whitened, directions.

    Attributes
    ----------
    mean, scale : numpy.ndarray
        D, float64: an instance x is read as (x - mean) / scale.
    directions : numpy.ndarray or None
        k x D, float32: what is read of that; None = all of it.
    facts : dict
        JSON-able: what was chosen, and why.
    """

    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def standardising(moments: Moments) -> np.ndarray:
    """Return what each feature is divided by (D): its deviation over the training instances.

    It is never below a tenth of the median one: a feature that hardly varies at the training sites
    would otherwise be blown up at a site where it does.

    Examples
    --------
    >>> moments = Moments.of([np.array([[0.0, 0, 0, 7], [2, 4, 6, 7]])])
    >>> standardising(moments).tolist()
    [1.0, 2.0, 3.0, 0.2]
    """
    deviation = moments.deviation
    moving = deviation[deviation > 0]
    least = _LEAST_SCALE * float(np.median(moving)) if len(moving) else 1.0
    return np.maximum(deviation, least)


def fit_inputs(store: FeatureStore, training: BagTable, settings: ScMilSettings) -> Inputs:
    """Fit what the settings ask for to training bags.

    Raises
    ------
    InputError
        See `offsite.pathology.whitening.Moments.of` and `whitening`.
    """
    slides = [slide for bag in training.slides for slide in bag]
    each = max(_MOST_ROWS // len(slides), 1)
    moments = Moments.of(_every_so_many(store.rows(slide), each) for slide in slides)
    scale = standardising(moments)
    if settings.inputs == "none":
        return Inputs(moments.mean, scale)
    found = whitening(moments, scale, settings.directions, settings.whitening_power)
    return Inputs(moments.mean, scale, found.directions)


def _every_so_many(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most ``most`` of the rows, evenly spaced."""
    return rows[:: -(-len(rows) // most)]
