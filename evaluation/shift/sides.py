"""A site and what it is compared with: the two sides of every shift statistic."""

from dataclasses import dataclass

import numpy as np

from offsite.evaluation.predictions.roles import TRAINING
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.shift.label_shift import BiasCorrectedTemperature
from offsite.evaluation.statistics.sites import Sites

_ROWS_PER_CLASS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Rows of one side.

    Attributes
    ----------
    rows : Predictions
        The rows themselves.
    units, patients : numpy.ndarray
        N names: what is drawn for intervals, and whose image it is.
    calibrated : numpy.ndarray
        N x C probabilities calibrated on validation rows of the training sites.
    """

    rows: Predictions
    units: np.ndarray
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
    local, reference : Side
        A held-out site is compared with the test rows of all training sites, a training site
        with those of the other training sites.
    model_prior : numpy.ndarray
        Class frequencies (C) of the rows that ``calibrated`` is calibrated on; where there are
        too few of them, those of the training rows. ``None`` where no such row has a label.
    sites : Sites
        All rows, with the confidence of intervals.
    """

    site: str
    site_role: str
    local: Side
    reference: Side
    model_prior: np.ndarray | None
    sites: Sites


def comparisons(sites: Sites) -> list[Comparison]:
    """One comparison for each site with test rows, training sites first, then by name."""
    whole, model_prior = _whole(sites)
    roles = sites.roles
    return [
        Comparison(
            site=site,
            site_role=role,
            local=_part(whole, sites.rows_of(site, role)),
            reference=_part(
                whole,
                roles.reference & (sites.names != site) if role == TRAINING else roles.reference,
            ),
            model_prior=model_prior,
            sites=sites,
        )
        for site, role in roles.test_sites(sites.names)
    ]


def test_rows(sites: Sites) -> Side:
    """The test rows of all sites together."""
    return _part(_whole(sites)[0], sites.roles.test)


def _whole(sites: Sites) -> tuple[Side, np.ndarray | None]:
    predictions, roles = sites.predictions, sites.roles
    probabilities = predictions.probabilities
    known = roles.calibrate & (predictions.labels >= 0)
    if known.sum() >= _ROWS_PER_CLASS * len(predictions.classes):
        calibration = BiasCorrectedTemperature.fit(probabilities[known], predictions.labels[known])
        probabilities = calibration(probabilities)
    else:
        known = roles.fit & (predictions.labels >= 0)
    counts = np.bincount(predictions.labels[known], minlength=len(predictions.classes))
    side = Side(
        rows=predictions, units=sites.units, patients=sites.patients, calibrated=probabilities
    )
    return side, counts / counts.sum() if counts.any() else None


def _part(side: Side, mask: np.ndarray) -> Side:
    return Side(
        rows=side.rows.select(mask),
        units=side.units[mask],
        patients=side.patients[mask],
        calibrated=side.calibrated[mask],
    )
