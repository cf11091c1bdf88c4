"""Bootstrap draws as counts of units: the same draws for every metric and every model."""

import hashlib
from collections.abc import Iterator

import numpy as np

# A draw counts a unit more than 255 times with a probability under 1e-500, so a byte holds it.
COUNT = np.uint8
_BLOCK = 16
_CACHED = 2**18


def generator_of(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each name, so that a site's draws do not depend on other sites.

    Examples
    --------
    >>> first, again = generator_of(0, 'north'), generator_of(0, 'north')
    >>> int(first.integers(1000)) == int(again.integers(1000))
    True
    """
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    words = [int.from_bytes(digest[start : start + 4], "little") for start in range(0, 16, 4)]
    return np.random.default_rng([seed, *words])


def draw_counts(units: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """How often each unit is drawn: uint8, ``resamples`` x ``units``; each row sums to ``units``.

    Efron's (1979) bootstrap; over patients with all their rows it is the cluster bootstrap.

    Examples
    --------
    >>> draw_counts(5, 2, generator_of(0, 'north')).sum(axis=1).tolist()
    [5, 5]
    """
    counts = np.empty((resamples, units), dtype=COUNT)
    if units == 0:
        return counts
    kind = np.uint16 if units <= 2**16 else np.uint32
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = generator.integers(0, units, size=(rows, units), dtype=kind)
        drawn = drawn + (np.arange(rows, dtype=np.int64) * units)[:, None]
        block = np.bincount(drawn.ravel(), minlength=rows * units)
        counts[start : start + rows] = block.reshape(rows, units)
    return counts


def patient_weights(
    patients: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Bootstrap weights of rows, B x N float32: whole patients drawn with replacement."""
    names, codes = np.unique(patients, return_inverse=True)
    return draw_counts(len(names), resamples, generator).astype(np.float32)[:, codes]


def swap_counts(units: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Which of two models' rows each unit gives: uint8, (1 + resamples) x 2 units.

    The first half of the columns are the units under the first model, the second half under the
    second; each unit is taken from one of them. In the first row all are from the first model.
    """
    swaps = generator.integers(0, 2, size=(1 + resamples, units), dtype=COUNT)
    swaps[0] = 1
    return np.hstack([swaps, 1 - swaps])


def stratified_counts(
    strata: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """As :func:`draw_counts`, within each stratum (an integer per unit): strata keep their sizes."""
    counts = np.empty((resamples, len(strata)), dtype=COUNT)
    for stratum in np.unique(strata):
        inside = np.flatnonzero(strata == stratum)
        counts[:, inside] = draw_counts(len(inside), resamples, generator)
    return counts


def point_and_draws(
    units: np.ndarray,
    labels: np.ndarray,
    resamples: int,
    generator: np.random.Generator,
    *,
    stratified: bool = False,
) -> np.ndarray:
    """A row of ones, then draws: (1 + ``resamples``) x units, one pass gives estimate and draws.

    With ``stratified`` a unit's stratum is the highest class among its rows (our construction
    for patients with several grades).
    """
    number = int(units.max(initial=-1)) + 1
    strata = np.full(number, -1)
    np.maximum.at(strata, units, labels)
    counts = (
        stratified_counts(strata, resamples, generator)
        if stratified
        else draw_counts(number, resamples, generator)
    )
    return np.vstack([np.ones((1, number), dtype=COUNT), counts])


def blocks(counts: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """The draws in parts that stay in the cache when each draw makes a row of ``width`` numbers."""
    rows = int(np.clip(_CACHED // max(width, 1), 8, 256))
    for start in range(0, len(counts), rows):
        yield counts[start : start + rows]


def sums_by_unit(units: np.ndarray, values: np.ndarray, number: int) -> np.ndarray:
    """Sums over the rows of each unit, ``number`` x K, of N x K values.

    Examples
    --------
    >>> sums_by_unit(np.array([0, 1, 0]), np.array([[1.0], [2.0], [4.0]]), 2).tolist()
    [[5.0], [2.0]]
    """
    columns = [np.bincount(units, column, number) for column in np.asarray(values).T]
    return np.stack(columns, axis=1) if columns else np.zeros((number, 0))


def weighted_sums(counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Totals of each draw, float64 B x K, from sums per unit (units x K)."""
    kind = np.float32 if _exact_in_float32(counts.shape[1], sums) else np.float64
    sums = sums.astype(kind)
    parts = [block.astype(kind) @ sums for block in blocks(counts, counts.shape[1])]
    return np.concatenate(parts, dtype=np.float64) if parts else np.zeros((0, sums.shape[1]))


def _exact_in_float32(units: int, sums: np.ndarray) -> bool:
    """Whether totals of a draw are whole numbers below 2^24, as those of counted cells are."""
    largest = float(np.abs(sums).max(initial=0.0))
    return units * largest < 2**24 and bool(np.array_equal(sums, np.rint(sums)))
