"""Rows of a site as arrays, with the patients behind them and the draws of these."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.resampling import COUNT, sums_by_unit, weighted_sums

POOLED, ALL = "_pooled", "all"


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """Rows of one site, or of several as one, and the units that a resample draws.

    Attributes
    ----------
    labels : numpy.ndarray
        int64, N: class indices; -1 where there is none, which metrics of labels do not take.
    probabilities : numpy.ndarray
        float64, N x C.
    units : numpy.ndarray
        int64, N: the unit (patient) of each row, from 0 on; each unit has a row.
    patients : numpy.ndarray or None
        int64, for each unit: its patient; ``None`` where the units are patients.
    name, role : str
        Site, and ``training`` or ``held_out``.
    index : numpy.ndarray
        int64, N: rows of the predictions.
    draws : tuple of numpy.ndarray
        Of each site in it: uint8, (1 + resamples) x its units: a row of ones, then the draws.
    unlabelled : int
        Images of the site that are left out here, as they have no label.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    units: np.ndarray
    patients: np.ndarray | None = None
    name: str = ""
    role: str = ""
    index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    draws: tuple[np.ndarray, ...] = ()
    unlabelled: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def covers(self, site: "Site") -> bool:
        """Whether these are the rows of all sites, or of those of a role, and the site is one."""
        return self.role in (ALL, site.role)

    @property
    def place(self) -> dict[str, Any]:
        """Name and role as cells of a table."""
        return {"site": self.name, "site_role": self.role}

    @property
    def classes(self) -> int:
        """Classes of the model, C."""
        return self.probabilities.shape[1]

    @property
    def class_counts(self) -> np.ndarray:
        """Rows of each class, int64, C."""
        return np.bincount(self.labels, minlength=self.classes)

    @cached_property
    def n_units(self) -> int:
        """How many units are drawn from."""
        return int(self.units.max(initial=-1)) + 1

    @property
    def n_patients(self) -> int:
        """Patients behind the rows."""
        return self.patients_of(np.arange(self.n_units))

    @property
    def patient_of_row(self) -> np.ndarray:
        """int64, N: a number for the patient of each row."""
        return self.units if self.patients is None else self.patients[self.units]

    def patients_of(self, units: np.ndarray) -> int:
        """How many patients are behind units, of which some may be named more than once."""
        return len(np.unique(units if self.patients is None else self.patients[units]))

    def patients_among(self, rows: np.ndarray | slice) -> int:
        """How many patients are behind some of the rows (N booleans, places or a slice)."""
        return self.patients_of(np.flatnonzero(np.bincount(self.units[rows])))

    @property
    def rarer_side(self) -> int:
        """Patients of the most frequent class or outside it, whichever are fewer."""
        common = self.labels == self.class_counts.argmax()
        return min(self.patients_among(common), self.patients_among(~common))

    @property
    def counts(self) -> np.ndarray:
        """The draws of all units, (1 + resamples) x units; of several sites not kept.

        Without draws a row of ones, which gives the plain metric.
        """
        if len(self.draws) == 1:
            return self.draws[0]
        return np.hstack(self.draws) if self.draws else np.ones((1, self.n_units), dtype=COUNT)

    def as_one(self) -> "Site":
        """The same rows with the draws of all sites put together, for who asks often."""
        return self if len(self.draws) == 1 else replace(self, draws=(self.counts,))

    def totals(self, values: np.ndarray, draws: int | None = None) -> np.ndarray:
        """Sums over the rows, float64 B x K, of N x K values: as they are, then in each draw."""
        sums, parts = sums_by_unit(self.units, values, self.n_units), self.draws or (self.counts,)
        edges = np.cumsum([part.shape[1] for part in parts])[:-1]
        return np.sum(
            [
                weighted_sums(part[:draws], some)
                for part, some in zip(parts, np.split(sums, edges), strict=True)
            ],
            axis=0,
        )

    def why_not(self, minimum: int) -> Reason:
        """Why fewer than ``minimum`` labelled rows give no metric; ``OK`` where there are enough."""
        return Reason.OK if len(self) >= minimum else self.lacking

    @property
    def lacking(self) -> Reason:
        """What a site that could not be measured lacks."""
        if len(self):
            return Reason.TOO_FEW
        return Reason.NO_LABELS if self.unlabelled else Reason.NO_SAMPLES


def unit_codes(predictions: Predictions, unit: str = "patient") -> np.ndarray:
    """A number for each row's unit, int64, N: its patient at its site, or the row's own.

    A patient seen at two sites is two units, as sites are resampled apart; a row where no patient
    is named is a unit of its own. Numbers are in the order of names, so that a draw of the same
    rows does not depend on which others stand beside them.
    """
    rows = pd.Series(np.arange(len(predictions)).astype(str), predictions.table.index)
    if unit == "image":
        return pd.factorize(rows, sort=True)[0]
    sites, patients = predictions.table["site"], predictions.table["patient"].astype(str)
    named = sites.astype(str) + "\x1fpatient\x1f" + patients
    return pd.factorize(named.where(patients != "", "\x1frow\x1f" + rows), sort=True)[0]


def pooled(role: str, sites: list[Site]) -> Site:
    """The rows of several sites as one, units and patients kept apart and drawn within sites."""
    units = np.cumsum([0, *(site.n_units for site in sites)])
    known = [site.patients for site in sites if site.patients is not None]
    patients = np.cumsum([0, *(part.max(initial=-1) + 1 for part in known)])
    return Site(
        name=POOLED,
        role=role,
        labels=np.concatenate([site.labels for site in sites]),
        probabilities=np.concatenate([site.probabilities for site in sites]),
        units=np.concatenate([s.units + shift for s, shift in zip(sites, units, strict=False)]),
        patients=np.concatenate([p + shift for p, shift in zip(known, patients, strict=False)])
        if known
        else None,
        index=np.concatenate([site.index for site in sites]),
        draws=tuple(part for site in sites for part in site.draws),
        unlabelled=sum(site.unlabelled for site in sites),
    )
