"""A linear head from sums: what a fit needs of its rows, without the rows.

Weights, sums and second moments of rows add up: those of two hospitals are those of both, taking a
row out is subtracting it, and a head fitted to sums equals the head fitted to the rows they were
made of, to rounding. Everything is float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

_BLOCK = 2048
_FLAT = 1e-8  # a feature with less variance than this tells nothing and is left at its scale


@dataclass(frozen=True, eq=False)
class RowSums:
    """Sums over rows x (D features) with their weights w and classes.

    Attributes
    ----------
    weights : numpy.ndarray
        C: sum of w of each class.
    sums : numpy.ndarray
        C x D: sum of w x of each class.
    second : numpy.ndarray
        D x D: sum of w x x' over all rows.
    """

    weights: np.ndarray
    sums: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_classes: int) -> Self:
        """Return the sums of rows.

        Parameters
        ----------
        rows : numpy.ndarray
            N x D, finite.
        labels : numpy.ndarray
            N, int in 0..C-1.
        weights : numpy.ndarray
            N, > 0.

        Examples
        --------
        >>> sums = RowSums.of(np.array([[1.0], [3.0]]), np.array([0, 1]), np.ones(2), 2)
        >>> sums.sums.tolist(), sums.second.tolist()
        ([[1.0], [3.0]], [[10.0]])
        """
        wide = rows.shape[1]
        summed, second = np.zeros((n_classes, wide)), np.zeros((wide, wide))
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            x, w = rows[part].astype(np.float64), weights[part].astype(np.float64)
            weighted = x * w[:, None]
            second += x.T @ weighted
            summed += (labels[part] == np.arange(n_classes)[:, None]) @ weighted
        counted = np.bincount(labels, weights=weights, minlength=n_classes).astype(np.float64)
        return cls(counted, summed, second)

    def __add__(self, other: "RowSums") -> "RowSums":
        return RowSums(
            self.weights + other.weights, self.sums + other.sums, self.second + other.second
        )

    def __sub__(self, other: "RowSums") -> "RowSums":
        return RowSums(
            self.weights - other.weights, self.sums - other.sums, self.second - other.second
        )

    def scaled(self, factor: float) -> "RowSums":
        """Return the sums of the same rows with ``factor`` times their weights."""
        return RowSums(self.weights * factor, self.sums * factor, self.second * factor)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return them by name, the symmetric second moments as their lower triangle."""
        lower = self.second[np.tril_indices(len(self.second))]
        return {"weights": self.weights, "sums": self.sums, "second": lower}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the sums that `arrays` gave.

        Raises
        ------
        ValueError
            The arrays do not fit one another.
        """
        weights, sums, lower = (arrays[name] for name in ("weights", "sums", "second"))
        wide = sums.shape[-1]
        if sums.shape != (len(weights), wide) or len(lower) != wide * (wide + 1) // 2:
            raise ValueError("sums of other shapes")
        second = np.zeros((wide, wide))
        second[np.tril_indices(wide)] = lower
        return cls(weights, sums, second + np.tril(second, -1).T)


def together(parts: Sequence[RowSums]) -> RowSums:
    """Return the sums over all parts; at least one."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def fit_grades(sums: RowSums, penalties: Sequence[float]) -> list[tuple[np.ndarray, float]]:
    """Return, for each penalty, the linear grade closest to the classes' numbers.

    Ridge regression (Hoerl and Kennard 1970) of the class's number on features of unit variance:
    with the weighted mean m, deviations s and correlations R of the features, and c the covariance
    of x / s with the number, b = (R + penalty I)^-1 c; the grade of x is mean + b' (x - m) / s.

    Parameters
    ----------
    sums : RowSums
        Of the rows to fit.
    penalties : sequence of float
        Each > 0: 1 shrinks as much as the features' own variance holds.

    Returns
    -------
    list of (numpy.ndarray, float)
        Coefficients (D) on the features as they are, and what is added.

    Examples
    --------
    >>> rows, labels = np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 2])
    >>> ((slope, start),) = fit_grades(RowSums.of(rows, labels, np.ones(3), 3), [1e-9])
    >>> round(float(slope[0]), 6), round(start, 6)
    (1.0, 0.0)
    """
    numbers = np.arange(len(sums.weights), dtype=np.float64)[:, None]
    return [
        (slope[:, 0], float(start[0])) for slope, start in fit_targets(sums, numbers, penalties)
    ]


def fit_targets(
    sums: RowSums, targets: np.ndarray, penalties: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what `fit_grades` does for any numbers of the classes, several at once.

    Parameters
    ----------
    targets : numpy.ndarray
        C x T: the numbers of each class; the identity for one linear answer a class.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray)
        D x T coefficients, and T that are added.
    """
    total = sums.weights.sum()
    mean = sums.sums.sum(axis=0) / total
    centre = sums.weights @ targets / total
    covariance = sums.second / total - np.outer(mean, mean)
    variance = np.diag(covariance)
    deviation = np.where(variance > _FLAT, np.sqrt(np.maximum(variance, _FLAT)), 1.0)
    correlations = covariance / deviation / deviation[:, None]
    together_with = (sums.sums.T @ targets / total - np.outer(mean, centre)) / deviation[:, None]
    heads = []
    for penalty in penalties:
        factor = cho_factor(
            correlations + penalty * np.eye(len(mean)), lower=True, overwrite_a=True
        )
        slope = cho_solve(factor, together_with) / deviation[:, None]
        heads.append((slope, centre - mean @ slope))
    return heads
