"""The labelled rows of a site as arrays, with the patients behind them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.resampling import sums_by_unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Labelled rows and the units that a resample draws.

    Attributes
    ----------
    labels : numpy.ndarray
        int64, N: class indices, none negative.
    probabilities : numpy.ndarray
        float64, N x C.
    units : numpy.ndarray
        int64, N: the unit (patient) of each row, 0 to ``n_units`` - 1.
    n_units : int
        Units; each has at least one row.
    patients : numpy.ndarray or None
        int64, n_units: the patient of each unit; ``None`` where the units are patients.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    units: np.ndarray
    n_units: int
    patients: np.ndarray | None = None

    @property
    def n(self) -> int:
        """Labelled rows."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Classes of the model, C."""
        return self.probabilities.shape[1]

    @property
    def class_counts(self) -> np.ndarray:
        """Rows of each class, int64, C."""
        return np.bincount(self.labels, minlength=self.classes)

    @property
    def n_patients(self) -> int:
        """Patients behind the rows."""
        return self.patients_of(np.arange(self.n_units))

    def patients_of(self, units: np.ndarray) -> int:
        """How many patients are behind units, of which some may be named more than once."""
        return len(np.unique(units if self.patients is None else self.patients[units]))

    def patients_among(self, rows: np.ndarray) -> int:
        """How many patients are behind some of the rows (N booleans)."""
        return self.patients_of(np.flatnonzero(np.bincount(self.units[rows])))

    @property
    def rarer_side(self) -> int:
        """Patients of the most frequent class or outside it, whichever are fewer."""
        common = self.labels == self.class_counts.argmax()
        return min(self.patients_among(common), self.patients_among(~common))

    def unit_sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows of each unit, n_units x K, of N x K values."""
        return sums_by_unit(self.units, values, self.n_units)


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


def sample_of(predictions: Predictions, unit: str = "patient") -> Sample:
    """The labelled rows of a predictions table; unlabelled rows are left out."""
    patients = unit_codes(predictions) if unit == "image" else None
    rows = np.arange(len(predictions))
    return sample_at(predictions, rows, unit_codes(predictions, unit), patients)


def sample_at(
    predictions: Predictions, rows: np.ndarray, units: np.ndarray, patients: np.ndarray | None
) -> Sample:
    """The labelled ones among some rows, with the units and patients of all rows.

    Parameters
    ----------
    predictions : Predictions
        N rows.
    rows : numpy.ndarray
        Indices of rows.
    units, patients : numpy.ndarray
        N numbers (:func:`unit_codes`); ``patients`` is ``None`` where the units are patients.
    """
    labelled = rows[predictions.labels[rows] >= 0]
    unique, first, codes = np.unique(units[labelled], return_index=True, return_inverse=True)
    return Sample(
        labels=predictions.labels[labelled],
        probabilities=predictions.probabilities[labelled],
        units=codes.astype(np.int64),
        n_units=len(unique),
        patients=None
        if patients is None
        else np.unique(patients[labelled][first], return_inverse=True)[1],
    )


def joined(samples: list[Sample]) -> Sample:
    """One sample of several, units kept apart and in order."""
    offsets = np.cumsum([0, *(sample.n_units for sample in samples)])
    return Sample(
        labels=np.concatenate([sample.labels for sample in samples]),
        probabilities=np.concatenate([sample.probabilities for sample in samples]),
        units=np.concatenate(
            [sample.units + offset for sample, offset in zip(samples, offsets, strict=False)]
        ),
        n_units=int(offsets[-1]),
        patients=_joined_patients(samples),
    )


def _joined_patients(samples: list[Sample]) -> np.ndarray | None:
    parts = [sample.patients for sample in samples if sample.patients is not None]
    if len(parts) < len(samples):
        return None
    offsets = np.cumsum([0, *(part.max(initial=-1) + 1 for part in parts)])
    return np.concatenate([part + offset for part, offset in zip(parts, offsets, strict=False)])
