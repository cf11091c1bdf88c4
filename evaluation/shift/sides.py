"""A site and what it is compared with: the two sides of every shift statistic."""

from dataclasses import dataclass

import numpy as np

from evaluation.predictions import Predictions
from evaluation.roles import TRAINING, Roles, patients_of, roles_of
from evaluation.shift.label_shift import BiasCorrectedTemperature


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Rows of one side.

    Attributes
    ----------
    rows : Predictions
        The rows themselves.
    patients : numpy.ndarray
        N names; an image without a patient is its own.
    calibrated : numpy.ndarray
        N x C probabilities calibrated on validation rows of the training sites.
    """

    rows: Predictions
    patients: np.ndarray
    calibrated: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """N booleans."""
        return self.rows.labels >= 0

    def sample(self, limit: int, generator: np.random.Generator) -> np.ndarray:
        """Indices of at most ``limit`` rows, at random without replacement, sorted."""
        count = len(self.rows)
        if count <= limit:
            return np.arange(count)
        return np.sort(generator.choice(count, size=limit, replace=False))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A test site against its reference.

    Attributes
    ----------
    site, site_role : str
        Of the site.
    own, reference : Side
        A held-out site is compared with the test rows of all training sites, a training site
        with those of the other training sites.
    """

    site: str
    site_role: str
    own: Side
    reference: Side


def comparisons(predictions: Predictions) -> list[Comparison]:
    """One comparison for each site with test rows, training sites first, then by name."""
    roles = roles_of(predictions.table)
    whole = _whole(predictions, roles)
    sites = predictions.table["site"].to_numpy(str)
    return [
        Comparison(
            site=site,
            site_role=role,
            own=_part(whole, roles.test & (sites == site) & (roles.site_role == role)),
            reference=_part(
                whole, roles.reference & (sites != site) if role == TRAINING else roles.reference
            ),
        )
        for site, role in roles.test_sites(sites)
    ]


def test_rows(predictions: Predictions) -> Side:
    """The test rows of all sites together."""
    roles = roles_of(predictions.table)
    return _part(_whole(predictions, roles), roles.test)


def _whole(predictions: Predictions, roles: Roles) -> Side:
    probabilities = predictions.probabilities
    known = roles.calibrate & (predictions.labels >= 0)
    if known.sum() >= 10 * len(predictions.classes):
        calibration = BiasCorrectedTemperature.fit(probabilities[known], predictions.labels[known])
        probabilities = calibration(probabilities)
    return Side(
        rows=predictions,
        patients=patients_of(predictions),
        calibrated=probabilities,
    )


def _part(side: Side, mask: np.ndarray) -> Side:
    return Side(
        rows=side.rows.select(mask),
        patients=side.patients[mask],
        calibrated=side.calibrated[mask],
    )
