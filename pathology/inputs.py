"""What is done to the instances before the network reads them, fitted on the training bags alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from offsite.pathology.bags import BagTable
from offsite.pathology.features.store import FeatureStore
from offsite.pathology.input_choice import Choice, bag_statistics, choose, enough_bags
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.whitening import Moments, Whitening, whitening
from offsite.training.devices import distributed

_LEAST_SCALE = 0.1
_MOST_ROWS = 50_000  # of all slides: the covariance of 2,560 numbers takes seconds of them
_MOST_OF_BAG = 512


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

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return instances (n x D) as the network would read them (float32, n x D or n x k)."""
        moved = ((np.asarray(rows, np.float64) - self.mean) / self.scale).astype(np.float32)
        return moved if self.directions is None else moved @ self.directions.T


def standardising(moments: Moments) -> np.ndarray:
    """Return what each feature is divided by (D): its deviation over the training instances.

    It is never below a tenth of the median one: a feature that hardly varies at the training sites
    would otherwise be blown up at a site where it does.

    Examples
    --------
    >>> moments = Moments.of([np.array([[0.0, 0, 0, 7], [2, 4, 6, 7]])])
    >>> standardising(moments).round(6).tolist()
    [1.0, 2.0, 3.0, 0.2]
    """
    deviation = moments.deviation
    moving = deviation[deviation > 0]
    least = _LEAST_SCALE * float(np.median(moving)) if len(moving) else 1.0
    return np.maximum(deviation, least)


def fit_inputs(
    store: FeatureStore, training: BagTable, patients: Sequence[str], settings: ScMilSettings
) -> Inputs:
    """Fit what the settings ask for to training bags.

    Parameters
    ----------
    patients : sequence of str
        Of each training bag.

    Raises
    ------
    InputError
        See `offsite.pathology.whitening.Moments.of` and `whitening`.
    """
    slides = [slide for bag in training.slides for slide in bag]
    each = max(_MOST_ROWS // len(slides), 1)
    moments = Moments.of(
        (_every_so_many(store.rows(slide), each) for slide in slides),
        [store.slides[slide] for slide in slides],
    )
    plain = Inputs(moments.mean, standardising(moments), facts={"inputs": "none"})
    narrow = store.dimensions <= settings.directions
    if settings.inputs == "auto" and narrow:
        # All directions would be kept, the last too, which hardly vary by chance alone.
        why = f"{store.dimensions} numbers are no more than {settings.directions} directions"
        return replace(plain, facts={**plain.facts, "because": why})
    if settings.inputs == "none":
        return plain
    found = whitening(moments, plain.scale, settings.directions, settings.whitening_power)
    whitened = replace(plain, directions=found.directions, facts=_told(found))
    if settings.inputs == "whitened":
        return whitened
    choice = _chosen(store, training, patients, plain, whitened)
    agreed = distributed.from_rank_zero(choice.whitened)  # one network in all processes
    inputs = whitened if agreed else plain
    losses = {name: round(loss, 4) for name, loss in choice.losses.items()}
    return replace(inputs, facts={**inputs.facts, "because": choice.reason, "losses": losses})


def _told(found: Whitening) -> dict[str, Any]:
    told = {
        "inputs": "whitened",
        "directions": len(found.directions),
        "explained": round(found.explained, 4),
    }
    return told | ({"note": found.note} if found.note else {})


def _chosen(
    store: FeatureStore, training: BagTable, patients: Sequence[str], plain: Inputs, other: Inputs
) -> Choice:
    statistics = []
    some = enough_bags(training.labels)
    for slides in (training.slides[bag] for bag in some):
        each = max(_MOST_OF_BAG // len(slides), 1)
        rows = np.concatenate([_every_so_many(store.rows(slide), each) for slide in slides])
        statistics.append([bag_statistics(inputs.read(rows)) for inputs in (plain, other)])
    read_plain, read_other = (np.stack(rows) for rows in zip(*statistics, strict=True))
    named = [patients[bag] for bag in some]
    return choose(read_plain, read_other, training.labels[some], named)


def _every_so_many(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most ``most`` of the rows, evenly spaced."""
    return rows[:: -(-len(rows) // most)]
