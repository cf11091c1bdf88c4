"""Counts, means and scatter of features: all that Gaussian scores and distances need, mergeable."""

from dataclasses import dataclass

import numpy as np

from offsite.errors import InputError

_BLOCK = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureStats:
    """Sufficient statistics of labelled features in float64.

    The scatter is kept pooled *within* classes, from which the total scatter follows, so the
    object costs one D x D matrix whatever the number of classes.

    Attributes
    ----------
    counts : numpy.ndarray
        int64, C: rows of each class; a class may be absent (0).
    means : numpy.ndarray
        float64, C x D; the mean of an absent class is 0 and never used.
    within : numpy.ndarray
        float64, D x D: sum over rows of (z - mean of its class)(z - mean of its class)'.
    """

    counts: np.ndarray
    means: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, labels: np.ndarray | None, classes: int) -> "FeatureStats":
        """Statistics of N x D features; rows with a negative label are left out.

        Parameters
        ----------
        features : numpy.ndarray
            N x D, any real type; taken in blocks, so a memory-mapped array stays on disk.
        labels : numpy.ndarray or None
            N class indices below ``classes``; ``None`` puts every row in class 0.
        classes : int
            Number of classes.

        Raises
        ------
        InputError
            The shapes disagree, a label is out of range, or a feature is not finite.
        """
        features = np.asanyarray(features)
        if labels is None:
            labels = np.zeros(len(features), dtype=np.int64)
        labels = np.asarray(labels)
        if features.ndim != 2 or labels.shape != (len(features),):
            raise InputError(
                f"features {features.shape} and labels {labels.shape} do not belong together",
                remedy="Give N x D features and N labels",
            )
        if len(labels) and labels.max() >= classes:
            raise InputError(
                f"label {labels.max()} with {classes} classes", remedy="Count classes from 0"
            )
        stats = cls.empty(classes, features.shape[1])
        for start in range(0, len(features), _BLOCK):
            part = slice(start, start + _BLOCK)
            stats = stats.merge(cls._of_block(features[part], labels[part], classes))
        return stats

    @classmethod
    def empty(cls, classes: int, dimensions: int) -> "FeatureStats":
        """Statistics of no rows: the neutral element of ``merge``."""
        return cls(
            counts=np.zeros(classes, dtype=np.int64),
            means=np.zeros((classes, dimensions)),
            within=np.zeros((dimensions, dimensions)),
        )

    @classmethod
    def _of_block(cls, features: np.ndarray, labels: np.ndarray, classes: int) -> "FeatureStats":
        known = labels >= 0
        rows, index = np.asarray(features[known], dtype=np.float64), labels[known]
        if not np.isfinite(rows).all():
            raise InputError(
                "a feature is not finite", remedy="Look for a diverged model or a damaged file"
            )
        counts = np.bincount(index, minlength=classes).astype(np.int64)
        membership = np.zeros((classes, len(rows)))
        membership[index, np.arange(len(rows))] = 1.0
        means = membership @ rows / np.maximum(counts, 1)[:, None]
        centred = rows - means[index]
        return cls(counts=counts, means=means, within=centred.T @ centred)

    def merge(self, other: "FeatureStats") -> "FeatureStats":
        """Statistics of both samples together (pairwise update of Chan et al. 1983)."""
        if self.means.shape != other.means.shape:
            raise InputError(
                f"statistics of {self.means.shape} and {other.means.shape} (classes x features)",
                remedy="Merge statistics of one model and one list of classes",
            )
        counts = self.counts + other.counts
        share = other.counts / np.maximum(counts, 1)
        gap = other.means - self.means
        means = self.means + share[:, None] * gap
        spread = gap * np.sqrt(self.counts * share)[:, None]
        within = self.within + other.within + spread.T @ spread
        return FeatureStats(counts=counts, means=means, within=within)

    @property
    def n(self) -> int:
        """Rows seen."""
        return int(self.counts.sum())

    @property
    def dimensions(self) -> int:
        """Features per row, D."""
        return int(self.means.shape[1])

    @property
    def present(self) -> np.ndarray:
        """Indices of the classes that have rows."""
        return np.flatnonzero(self.counts)

    def mean(self) -> np.ndarray:
        """Mean of all rows, D."""
        self._require_rows()
        return self.counts @ self.means / self.n

    def scatter_about(self, origin: np.ndarray) -> np.ndarray:
        """Sum over rows of (z - origin)(z - origin)', D x D."""
        gap = (self.means - origin) * np.sqrt(self.counts)[:, None]
        return self.within + gap.T @ gap

    def within_covariance(self) -> np.ndarray:
        """Covariance about the class means, D x D, shrunk by OAS."""
        self._require_rows()
        return shrunk(self.within / self.n, self.n)

    def total_covariance(self) -> np.ndarray:
        """Covariance about the mean of all rows, D x D, shrunk by OAS."""
        return shrunk(self.scatter_about(self.mean()) / self.n, self.n)

    def _require_rows(self) -> None:
        if self.n == 0:
            raise InputError("no labelled rows", remedy="Fit on labelled training rows")


def constant(features: np.ndarray | None, rows: np.ndarray | None = None) -> bool:
    """Whether no feature varies over the rows (or some of them), as those of a collapsed model."""
    if features is None or len(features if rows is None else rows) == 0:
        return True
    index = np.arange(len(features)) if rows is None else rows
    first = features[index[0]]
    return all(
        bool((features[index[start : start + _BLOCK]] == first).all())
        for start in range(0, len(index), _BLOCK)
    )


def oas_shrinkage(covariance: np.ndarray, n: int) -> float:
    """Share of the scaled identity that Oracle Approximating Shrinkage mixes in, 0..1.

    Chen, Wiesel, Eldar and Hero (2010), equation 23, in the form for many dimensions (terms of
    order 1/D dropped), which is also scikit-learn's.

    Parameters
    ----------
    covariance : numpy.ndarray
        D x D maximum-likelihood covariance of ``n`` centred rows.
    n : int
        Rows behind it.

    Examples
    --------
    >>> round(oas_shrinkage(np.diag([1.0, 4.0]), n=20), 3)
    0.444
    """
    dimensions = len(covariance)
    trace, squares = np.trace(covariance), float(np.vdot(covariance, covariance))
    spread = squares - trace**2 / dimensions
    # A matrix that already is a scaled identity loses nothing by full shrinkage.
    if spread <= 1e-15 * squares:
        return 1.0
    return float(min(1.0, (squares + trace**2) / ((n + 1) * spread)))


def shrunk(covariance: np.ndarray, n: int) -> np.ndarray:
    """The covariance mixed with ``tr / D`` times the identity by ``oas_shrinkage``."""
    share = oas_shrinkage(covariance, n)
    result = (1 - share) * covariance
    result[np.diag_indices_from(result)] += share * np.trace(covariance) / len(covariance)
    return result
