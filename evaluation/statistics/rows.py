"""Test rows of sites as indices into the predictions, with the draws of their units."""

from dataclasses import dataclass

import numpy as np

from offsite.evaluation.statistics.resampling import COUNT, sums_by_unit, weighted_sums

POOLED = "_pooled"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """All test rows of a site, or of several, labelled or not, as indices: nothing is copied.

    Attributes
    ----------
    name, role : str
        As of a :class:`Site`.
    index : numpy.ndarray
        int64, N: rows of the predictions.
    units, patients : numpy.ndarray
        int64, N: numbers from 0 of the unit and of the patient of each row.
    draws : tuple of numpy.ndarray
        Of each site: uint8, (1 + resamples) x its units: a row of ones, then the draws.
    """

    name: str
    role: str
    index: np.ndarray
    units: np.ndarray
    patients: np.ndarray
    draws: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def counts(self) -> np.ndarray:
        """The draws of all units, (1 + resamples) x units; put together when asked for."""
        return side_by_side(self.draws)

    @property
    def n_units(self) -> int:
        """How many units are drawn from."""
        return sum(part.shape[1] for part in self.draws)

    def totals(self, values: np.ndarray, draws: int | None = None) -> np.ndarray:
        """Sums over the rows, float64 B x K, of N x K values: as they are, then in each draw."""
        sums = sums_by_unit(self.units, values, self.n_units)
        edges = np.cumsum([0, *(part.shape[1] for part in self.draws)])
        return np.sum(
            [
                weighted_sums(part[:draws], sums[start : start + part.shape[1]])
                for part, start in zip(self.draws, edges, strict=False)
            ],
            axis=0,
        )

    def n_patients(self, among: np.ndarray | None = None) -> int:
        """Patients behind the rows, or behind some of them (N booleans)."""
        return len(np.unique(self.patients if among is None else self.patients[among]))


def side_by_side(draws: tuple[np.ndarray, ...]) -> np.ndarray:
    """Draws of several sites as those of one."""
    return draws[0] if len(draws) == 1 else np.hstack(draws)


def together(role: str, parts: list[Rows]) -> Rows:
    """Rows of several sites as one, units and patients kept apart and draws within sites."""
    units = np.cumsum([0, *(part.n_units for part in parts)])
    patients = np.cumsum([0, *(part.patients.max(initial=-1) + 1 for part in parts)])
    nothing = np.empty(0, dtype=np.int64)
    return Rows(
        name=POOLED,
        role=role,
        index=np.concatenate([nothing, *(part.index for part in parts)]),
        units=np.concatenate(
            [nothing, *(p.units + shift for p, shift in zip(parts, units, strict=False))]
        ),
        patients=np.concatenate(
            [nothing, *(p.patients + shift for p, shift in zip(parts, patients, strict=False))]
        ),
        draws=tuple(of for part in parts for of in part.draws) or (np.empty((1, 0), COUNT),),
    )
