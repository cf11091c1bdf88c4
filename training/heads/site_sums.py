"""Sums of rows kept apart by site and class, so that a hospital can be added to a head or taken out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from offsite.training.heads.sums import RowSums, together

MOST_BYTES = 1 << 30
"""Of second moments; a package with more is not made."""


@dataclass(frozen=True, eq=False)
class SiteSums:
    """Sums of the rows of each site; a row counts one.

    The second moments are one matrix a site: the model of a head shares one covariance among its
    classes, and a matrix for each class and site would be as large as the rows themselves. Where a
    photograph was read with altered copies, the mean over them counts as its row.

    Attributes
    ----------
    sites : tuple of str
        S names.
    parts : tuple of RowSums
        One for each of them, float64: counts and sums by class, and second moments.
    site_weights : numpy.ndarray
        S: what a row of the site weighs in the fit of a head.
    """

    sites: tuple[str, ...]
    parts: tuple[RowSums, ...]
    site_weights: np.ndarray

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        labels: np.ndarray,
        sites: Sequence[str] | np.ndarray,
        n_classes: int,
        share: float = 0.5,
    ) -> Self:
        """Return the sums of rows; in a head's fit a row weighs n^-share with n rows of its site.

        Parameters
        ----------
        rows, labels, n_classes
            As of `offsite.training.heads.sums.RowSums.of`.
        sites : sequence of str
            N names.
        share : float
            0 each row alike, 1 each site alike.

        Examples
        --------
        >>> sums = SiteSums.of(np.eye(2), np.array([0, 1]), ["north", "south"], 2)
        >>> sums.sites, sums.together().weights.tolist()
        (('north', 'south'), [1.0, 1.0])
        """
        names, site_of_row = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
        parts = {}
        for number, name in enumerate(names):
            here = site_of_row == number
            ones = np.ones(int(here.sum()))
            parts[str(name)] = RowSums.of(rows[here], labels[here], ones, n_classes)
        return cls.of_parts(parts, share)

    @classmethod
    def of_parts(cls, parts: Mapping[str, RowSums], share: float) -> Self:
        """Return the sums of sites that each have theirs, sorted by name: any order gives the same.

        ``share`` is that of `of`.
        """
        names = tuple(sorted(parts))
        counts = np.array([np.rint(parts[name].weights.sum()) for name in names])
        weights = counts**-share
        return cls(names, tuple(parts[name] for name in names), weights / (weights @ counts))

    def by_site(self) -> dict[str, RowSums]:
        """Return the sums of each site by its name."""
        return dict(zip(self.sites, self.parts, strict=True))

    def together(self) -> RowSums:
        """Return the sums over all sites, each row counting one."""
        return together(self.parts)

    def weighted(self) -> RowSums:
        """Return the sums that a head is fitted to: rows weigh what their site's rows weigh."""
        pairs = zip(self.parts, self.site_weights, strict=True)
        return together([part.scaled(float(weight)) for part, weight in pairs])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return them by name, float64, without the sites' names.

        ``n`` (S x C), ``sums`` (S x C x D), ``second`` (S lower triangles), ``site_weights`` (S).
        """
        each = [part.arrays() for part in self.parts]
        return {
            "n": np.stack([part["weights"] for part in each]),
            "sums": np.stack([part["sums"] for part in each]),
            "second": np.stack([part["second"] for part in each]),
            "site_weights": self.site_weights,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], sites: Sequence[str]) -> Self:
        """Return the sums that `arrays` gave.

        Raises
        ------
        ValueError
            The arrays do not fit one another, or the sites.
        """
        lengths = {len(arrays[name]) for name in ("n", "sums", "second", "site_weights")}
        if lengths != {len(sites)}:
            raise ValueError("sums of another number of sites")
        rows = zip(arrays["n"], arrays["sums"], arrays["second"], strict=True)
        parts = tuple(
            RowSums.from_arrays({"weights": n, "sums": summed, "second": second})
            for n, summed, second in rows
        )
        return cls(tuple(map(str, sites)), parts, np.asarray(arrays["site_weights"]))


def bytes_of_second_moments(sites: int, wide: int) -> int:
    """Return the size of the second moments of so many sites and numbers.

    Examples
    --------
    >>> bytes_of_second_moments(4, 1632) // 2**20
    40
    """
    return sites * wide * (wide + 1) // 2 * 8
