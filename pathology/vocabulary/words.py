"""Tissue words: clusters of tiles where views of one tile under other stains lie close."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from offsite.errors import InputError

LEADING = 64
TELLING = ("centre", "reader", "places")
"""The arrays that tell a tile's word."""
_SHRINKAGE = 0.1


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words of K kinds.

    Attributes
    ----------
    centre : numpy.ndarray
        D: the mean of the tiles that the words were found among.
    reader : numpy.ndarray
        D x k: a tile's place, at which words are told, is ``(x - centre) @ reader``.
    places : numpy.ndarray
        K x k: of the words, the commonest first.
    means : numpy.ndarray
        K x D: the mean features of a word's tiles; 0 x D where they are not kept.
    """

    centre: np.ndarray
    reader: np.ndarray
    places: np.ndarray
    means: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """Return the squared distance of tiles (N x D) from each word (N x K)."""
        seen = (np.asarray(rows, np.float64) - self.centre) @ self.reader
        squares = (seen**2).sum(1)[:, None] - 2 * seen @ self.places.T + (self.places**2).sum(1)
        return np.maximum(squares, 0)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return the word of each tile (N x D), int64 in 0..K-1."""
        return self.distances(rows).argmin(axis=1)

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """Return the share of each word among tiles (N x D, N >= 1): K numbers that sum to 1."""
        return np.bincount(self.of(rows), minlength=len(self)) / len(rows)

    def replaced(self, rows: np.ndarray) -> np.ndarray:
        """Return tiles (N x D) with the mean features of their words in their place, float16."""
        return self.means[self.of(rows)].astype(np.float16)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return it as float32 arrays by name."""
        names = (*TELLING, "means")
        return {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in names}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], dimensions: int) -> Self:
        """Return what `arrays` gave, of tiles of D numbers; ``means`` may be missing.

        Raises
        ------
        InputError
            Code ``not_words``: an array is missing, not finite, or does not fit the others.
        """
        given = {name: arrays.get(name) for name in TELLING}
        if any(
            a is None or a.dtype.kind != "f" or not np.isfinite(a).all() for a in given.values()
        ):
            raise _not_words()
        centre, reader, places = (np.asarray(given[name], np.float64) for name in TELLING)
        means = np.asarray(arrays.get("means", np.empty((0, dimensions))), np.float64)
        fit = centre.shape == (dimensions,) and reader.ndim == places.ndim == 2
        if not (
            fit and len(reader) == dimensions and reader.shape[1] == places.shape[1] and len(places)
        ):
            raise _not_words()
        return cls(centre, reader, places, means)


def _not_words() -> InputError:
    return InputError(
        "the arrays are not of words of such tiles",
        remedy="Find the words again (`offsite encoder vocabulary`)",
        code="not_words",
    )


def fit_vocabulary(
    rows: np.ndarray, within: np.ndarray, words: int, *, seed: int = 0
) -> Vocabulary:
    """Find the words of tiles.

    Features are first whitened by how views of one tile under other stains scatter, so that a direction
    in which the stain moves a tile counts for little; k-means then runs on the leading directions. After
    codebook features (Tamkin et al. 2023, arXiv 2310.17230), whose codes are found so; the whitening is
    our construction: plain k-means gives stain words.

    Parameters
    ----------
    rows : numpy.ndarray
        N x D: features of tiles of training slides.
    within : numpy.ndarray
        D x D: covariance of a tile's views about their mean; zeros where the encoder sees no stain.
    words : int
        K, at most; fewer where fewer tiles differ.
    seed : int
        Of k-means.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tissue, stain = np.repeat([0.0, 50.0], 50), rng.normal(0, 50, 100)
    >>> rows = np.stack([tissue, stain], axis=1)
    >>> found = fit_vocabulary(rows, np.diag([0.01, 2500.0]), 2)
    >>> len(set(found.of(rows)[:50])), len(set(found.of(rows)))
    (1, 2)
    """
    from sklearn.cluster import KMeans

    wide = np.asarray(rows, np.float64)
    centre = wide.mean(axis=0)
    size = np.trace(within) / len(within)
    scatter = within + _SHRINKAGE * (size if size > 0 else 1.0) * np.eye(len(within))
    values, axes = np.linalg.eigh(scatter)
    whiten = axes / np.sqrt(values) @ axes.T
    whitened = (wide - centre) @ whiten
    _, lengths, leading = np.linalg.svd(whitened, full_matrices=False)
    kept = max(1, int((lengths[:LEADING] > 1e-9 * max(lengths[0], 1e-12)).sum()))
    reader = whiten @ leading[:kept].T
    seen = (wide - centre) @ reader
    distinct = len(np.unique(seen.round(9), axis=0))
    found = KMeans(min(words, distinct), n_init=4, random_state=seed).fit(seen)
    order = np.argsort(-np.bincount(found.labels_), kind="stable")
    means = np.stack([wide[found.labels_ == word].mean(axis=0) for word in order])
    return Vocabulary(centre, reader, found.cluster_centers_[order], means)
