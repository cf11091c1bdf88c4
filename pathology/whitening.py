"""Leading directions of the instances, brought nearer to one length: what the network reads instead.

An encoder's thousand numbers are not equal: a few directions hold most of what varies, and gradient
descent sees little else. In the leading principal directions, each divided by a power of its
deviation, a small finding counts for more beside the stain. Divided by the whole deviation, noise
counts as much as the finding; by its root, both keep some of their rank. Directions far down vary
less in the training tiles than in any others, by chance, and would be blown up elsewhere: their
number is bounded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from offsite.errors import InputError

LEAST_SHARE = 1e-6
"""Of the largest variance: directions below it hold rounding, and are left out."""
TILES_PER_DIRECTION = 4
"""Fewest training tiles for each direction."""


_ROWS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the instances of training slides; each slide has the same weight.

    Attributes
    ----------
    mean : numpy.ndarray
        D, float64.
    covariance : numpy.ndarray
        D x D, float64.
    tiles : int
        Instances that they were taken over.
    """

    mean: np.ndarray
    covariance: np.ndarray
    tiles: int

    @classmethod
    def of(cls, slides: Iterable[np.ndarray], names: Sequence[str] = ()) -> "Moments":
        """Take them over slides that are given one by one (each n x D).

        Only sums are held, D x D numbers, and a slide's rows or some thousand of several. ``names`` are
        the slides', for what is said of one that cannot be used.

        Raises
        ------
        InputError
            Code ``not_finite``: an instance has NaN or an infinity.

        Examples
        --------
        >>> found = Moments.of([np.array([[0.0], [2.0]]), np.array([[4.0]])])
        >>> found.mean.tolist(), found.covariance.tolist(), found.tiles
        ([2.5], [[2.75]], 3)
        """
        first: np.ndarray | None = None
        total, squares, count, tiles = np.zeros(0), np.zeros((0, 0)), 0, 0
        waiting: list[np.ndarray] = []  # one product of many slides' rows, not one for each slide
        for rows in slides:
            values = np.asarray(rows, np.float64)
            if first is None:  # sums about a point near the mean lose no digits
                first = values.mean(axis=0)
                total, squares = np.zeros_like(first), np.zeros((len(first), len(first)))
            if not np.isfinite(values).all():
                raise InputError(
                    f"training slide {names[count] if names else count + 1} has features that are"
                    " not numbers",
                    remedy="Embed the slide again, or leave it out",
                    code="not_finite",
                )
            moved = values - first
            total += moved.mean(axis=0)
            count, tiles = count + 1, tiles + len(moved)
            waiting.append(moved / np.sqrt(len(moved)))
            if sum(map(len, waiting)) >= _ROWS_AT_ONCE:
                squares += _products(waiting)
                waiting = []
        if first is None:
            raise InputError("no training slide has tiles", code="no_items", remedy="Embed slides")
        if waiting:
            squares += _products(waiting)
        shift = total / count
        return cls(first + shift, squares / count - np.outer(shift, shift), tiles)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each feature (D)."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0))


def _products(parts: Sequence[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(parts)
    return rows.T @ rows


@dataclass(frozen=True, eq=False)
class Whitening:
    """Leading directions of the instances, to be read off standardised ones.

    Attributes
    ----------
    directions : numpy.ndarray
        k x D, float32: what is read of a standardised instance x is ``directions @ x``. Over the
        training instances its numbers are uncorrelated, and their mean square is one.
    explained : float
        Share of the instances' variance that they hold.
    note : str
        Why there are fewer than were asked for; empty where there are not.
    """

    directions: np.ndarray
    explained: float
    note: str


def whitening(moments: Moments, scale: np.ndarray, most: int, power: float = 1.0) -> Whitening:
    """Return at most ``most`` leading principal directions of the instances.

    They are those of the features as the encoder gives them: a feature that varies more leads.
    Directions of standardised features, where each has the same say, follow what is noise in small
    features; on colon tiles they cost .06 of AUROC (docs/evidence/real_tiles.md).

    Parameters
    ----------
    scale : numpy.ndarray
        D, > 0: what each feature has been divided by where the directions are read.
    most : int
        k, >= 1. Fewer are taken where there are fewer than `TILES_PER_DIRECTION` tiles for each, or
        where the variance of a direction is below `LEAST_SHARE` of the largest.
    power : float
        p in [0, 1]: a direction of deviation s is divided by s^p, and all of them by one number so
        that their mean square is one. 1 = each has deviation one; 0 = they are only turned.

    Raises
    ------
    InputError
        Code ``constant_features``: nothing varies.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(400, 3)) * [1, 10, 0] + 5
    >>> found = whitening(Moments.of([rows]), np.ones(3), 3)
    >>> len(found.directions), found.note
    (2, '3 directions were asked for; 2 vary')
    """
    numbers = len(moments.covariance)
    by_tiles = max(moments.tiles // TILES_PER_DIRECTION, 1)
    asked = min(most, by_tiles, numbers)
    # Of thousands of directions the leading ones alone are half the work.
    values, vectors = eigh(moments.covariance, subset_by_index=(numbers - asked, numbers - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    if not values[0] > 0:
        raise InputError(
            "the features of the training tiles do not vary",
            remedy="Look at the encoder: it says the same of every tile",
            code="constant_features",
        )
    varying = int((values > LEAST_SHARE * values[0]).sum())
    kept = min(asked, varying)
    note = ""
    if kept < min(most, numbers):
        why = f"{varying} vary" if varying < asked else f"{moments.tiles} tiles carry {kept}"
        note = f"{most} directions were asked for; {why}"
    lengths = values[:kept] ** (power / 2)
    lengths *= np.sqrt(np.mean(values[:kept] / lengths**2))
    leading = scale[:, None] * _same_sign(vectors[:, :kept]) / lengths
    return Whitening(
        np.ascontiguousarray(leading.T, np.float32),
        float(values[:kept].sum() / np.trace(moments.covariance)),
        note,
    )


def _same_sign(vectors: np.ndarray) -> np.ndarray:
    """Point each direction (a column) so that its largest number is positive, on any machine."""
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
